//go:build linux

package vmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// rootStart is where the partition with the root begins, in bytes.
const rootStart = fatStart + fatSize

// Edit calls f with the top level of a btrfs disk's file system, mounted on
// this machine: what a test spoils there costs it no boot. No VM may be
// running on the disk.
func (d *Disk) Edit(f func(top string)) {
	d.t.Helper()
	// All disks hold one and the same file system to the kernel, which knows
	// it by its UUID: one at a time, of all tests on this machine.
	lock, err := os.OpenFile(filepath.Join(CacheDir(), "edit.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		d.t.Fatal(err)
	}
	forget := func() { exec.Command("btrfs", "device", "scan", "--forget").Run() }
	forget()
	top, err := os.MkdirTemp("", "beadm-disk-")
	if err != nil {
		d.t.Fatal(err)
	}
	defer os.Remove(top)
	// A loop device of its own, given back when it is unmounted.
	if out, err := exec.Command("mount", "-t", "btrfs", "-o", "loop,offset="+strconv.Itoa(rootStart), d.File, top).CombinedOutput(); err != nil {
		d.t.Fatalf("cannot mount %s: %v: %s", d.File, err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", top).CombinedOutput(); err != nil {
			d.t.Errorf("cannot unmount %s: %v: %s", top, err, out)
		}
		forget()
	}()
	f(top)
}

// Loader changes a text file of the loader's file system.
func (d *Disk) Loader(file, old, new string) {
	d.t.Helper()
	local := filepath.Join(d.t.TempDir(), "file")
	d.Mtools("mcopy", "::"+file, local)
	text, err := os.ReadFile(local)
	if err != nil {
		d.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		d.t.Fatalf("%s does not hold %q:\n%s", file, old, text)
	}
	if err := os.WriteFile(local, []byte(strings.ReplaceAll(string(text), old, new)), 0o644); err != nil {
		d.t.Fatal(err)
	}
	d.Mtools("mcopy", "-o", local, "::"+file)
}
