//go:build linux

package vmtest

import (
	"crypto/sha256"
	"encoding/hex"
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

// Disk is a test's own copy of the image. It is written by one VM at a time
// and keeps what a power cut left.
type Disk struct {
	t     testing.TB
	image *Image
	File  string // raw
}

// NewDisk copies the image's disk, holes kept, for the life of the test.
func NewDisk(t testing.TB) *Disk {
	t.Helper()
	image, err := Build(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	d := &Disk{t: t, image: image, File: filepath.Join(t.TempDir(), "disk.img")}
	if out, err := exec.Command("cp", "--reflink=auto", "--sparse=always", filepath.Join(image.Dir, "zfs.img"), d.File).CombinedOutput(); err != nil {
		t.Fatalf("cannot copy the image: %v: %s", err, out)
	}
	return d
}

// Clone copies the disk as it is now; no VM may be running on it.
func (d *Disk) Clone(t testing.TB) *Disk {
	t.Helper()
	c := &Disk{t: t, image: d.image, File: filepath.Join(t.TempDir(), "disk.img")}
	if out, err := exec.Command("cp", "--reflink=auto", "--sparse=always", d.File, c.File).CombinedOutput(); err != nil {
		t.Fatalf("cannot copy the disk: %v: %s", err, out)
	}
	return c
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
