//go:build linux

package vmtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The image's layout (testdata/vm/disk.sh), in bytes.
const (
	fatStart = 2 << 20
	fatSize  = 64 << 20
)

// What the root of a disk is on.
const (
	ZFS   = "zfs"
	Btrfs = "btrfs"
)

// Disk is a test's own copy of the image. It is written by one VM at a time
// and keeps what a power cut left.
type Disk struct {
	t     testing.TB
	image *Image
	File  string // raw

	// vars is the file of the UEFI variables; empty: the machine has a BIOS.
	vars string

	sdBoot bool // it has systemd-boot, and kernels that are not quiet
}

// NewDisk copies the image's disk of that kind, for the life of the test.
func NewDisk(t testing.TB, kind string) *Disk {
	t.Helper()
	image, err := Build(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	d := &Disk{t: t, image: image, File: filepath.Join(t.TempDir(), "disk.img")}
	copyFile(t, filepath.Join(image.Dir, kind+".img"), d.File)
	return d
}

// The firmware of QEMU's Debian package ovmf.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// UEFI puts the disk into a machine with UEFI and fresh variables.
func (d *Disk) UEFI() *Disk {
	d.t.Helper()
	d.vars = d.File + ".vars"
	copyFile(d.t, ovmfVars, d.vars)
	return d
}

// systemd-boot of Debian's package systemd-boot-efi.
const sdBoot = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"

// SystemdBoot puts the disk into a machine with UEFI, and systemd-boot in the
// place of GRUB, with an entry of its own for what the disk holds: root are the
// kernel's arguments for that, without "quiet", so that the kernel says when
// the loader is done.
func (d *Disk) SystemdBoot(root string) *Disk {
	d.t.Helper()
	if _, err := os.Stat(sdBoot); err != nil {
		d.t.Fatalf("%v: install systemd-boot-efi", err)
	}
	d.UEFI()
	d.sdBoot = true
	dir := d.t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			d.t.Fatal(err)
		}
		return file
	}
	// Where beadm would put them: there is no room for two of each.
	name := func(what, file string) string {
		data, err := os.ReadFile(filepath.Join(d.image.Dir, file))
		if err != nil {
			d.t.Fatal(err)
		}
		return fmt.Sprintf("/beadm/kernels/%s-%x", what, sha256.Sum256(data))[:len("/beadm/kernels/-")+len(what)+32]
	}
	kernel, initrd := name("linux", "vmlinuz"), name("initrd", "initrd")
	d.Mtools("mmd", "::/loader", "::/loader/entries", "::/beadm", "::/beadm/kernels")
	for _, c := range [][2]string{
		{sdBoot, "::/EFI/BOOT/BOOTX64.EFI"},
		{filepath.Join(d.image.Dir, "vmlinuz"), "::" + kernel},
		{filepath.Join(d.image.Dir, "initrd"), "::" + initrd},
		{write("loader.conf", "timeout 0\ndefault debian*\n"), "::/loader/loader.conf"},
		{write("debian.conf", "title Debian\nlinux "+kernel+"\ninitrd "+initrd+"\noptions "+root+"\n"), "::/loader/entries/debian.conf"},
	} {
		d.Mtools("mcopy", "-o", c[0], c[1])
	}
	return d
}

// Firmware matches what the console says when the machine was reset, and has
// come as far as a test may type: OVMF takes both serial lines for a console,
// and a key that systemd-boot reads brings its menu.
func (d *Disk) Firmware() string {
	switch {
	case d.sdBoot:
		return "EFI stub: "
	case d.vars != "":
		return "BdsDxe: starting"
	}
	return "SeaBIOS"
}

// Clone copies the disk as it is now; no VM may be running on it.
func (d *Disk) Clone(t testing.TB) *Disk {
	t.Helper()
	c := &Disk{t: t, image: d.image, sdBoot: d.sdBoot, File: filepath.Join(t.TempDir(), "disk.img")}
	copyFile(t, d.File, c.File)
	if d.vars != "" {
		c.vars = c.File + ".vars"
		copyFile(t, d.vars, c.vars)
	}
	return c
}

// Kernel is the file of the image's kernel.
func (d *Disk) Kernel() string { return filepath.Join(d.image.Dir, "vmlinuz") }

// copyFile keeps holes.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "--reflink=auto", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cannot copy %s: %v: %s", from, err, out)
	}
}

// LoaderBytes is a digest of what belongs to the boot loader outside of
// beadm's own files: MBR, partition table and GRUB's core image.
func (d *Disk) LoaderBytes() string { return d.digest(0, fatStart) }

// FATBytes is a digest of the loader's file system.
func (d *Disk) FATBytes() string { return d.digest(fatStart, fatSize) }

func (d *Disk) digest(at, n int64) string {
	d.t.Helper()
	f, err := os.Open(d.File)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, at, n)); err != nil {
		d.t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// FATSector is the sector of 512 bytes in the loader's file system that begins
// with text. There must be one.
func (d *Disk) FATSector(text string) int64 {
	d.t.Helper()
	f, err := os.Open(d.File)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, fatSize)
	if _, err := f.ReadAt(buf, fatStart); err != nil {
		d.t.Fatal(err)
	}
	found := int64(0)
	for at := 0; at < fatSize; at += 512 {
		if strings.HasPrefix(string(buf[at:at+512]), text) {
			if found != 0 {
				d.t.Fatalf("several sectors begin with %q", text)
			}
			found = int64(fatStart+at) / 512
		}
	}
	if found == 0 {
		d.t.Fatalf("no sector begins with %q", text)
	}
	return found
}

// Mtools runs a program of mtools on the FAT file system; IMAGE in args stands
// for it. No VM may be running.
func (d *Disk) Mtools(program string, args ...string) string {
	d.t.Helper()
	full := append([]string{"-i", d.File + "@@2M"}, args...)
	out, err := exec.Command(program, full...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}
