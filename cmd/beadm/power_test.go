//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate/boot/stub"
)

// comeUp plays a reboot: what ran is cut off, the loader takes the token and
// chooses, and beadm's part of the boot runs in what it chose.
func (m *machine) comeUp() {
	m.t.Helper()
	m.loads()
	m.ok("boot")
}

// loads is a reboot that gets as far as the root and no further.
func (m *machine) loads() {
	m.t.Helper()
	id, _, err := stub.Consume(m.loader)
	check(m.t, err)
	e, err := stub.ReadEntry(m.loader, id)
	check(m.t, err)
	m.switchTo(strings.TrimPrefix(e.Root.Prefix, "/"))
}

func (m *machine) switchTo(subvol string) {
	m.t.Helper()
	// A program that another test starts has our files open until its exec.
	for i := 0; ; i++ {
		out, err := exec.Command("umount", "-R", m.root).CombinedOutput()
		if err == nil {
			break
		}
		if i == 50 {
			m.t.Fatalf("%v: %s", err, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
	m.mountRoot(subvol)
}

func (m *machine) freshRun() { // /run is a tmpfs: empty after a boot
	m.t.Helper()
	guids, _ := filepath.Glob(filepath.Join(m.top, "@beadm/*"))
	for _, g := range guids {
		check(m.t, os.RemoveAll(filepath.Join("/run/beadm", filepath.Base(g))))
	}
}

// disk is what a machine without power has.
type disk struct {
	image, loader string
	boots         string
}

// diskDir is a directory for disks: in memory where there is room.
func diskDir(t *testing.T) string {
	t.Helper()
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) != nil || st.Bavail*uint64(st.Bsize) < 4<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "beadm-disk-")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// copyDisk keeps what the disk holds now, and not what the kernel does.
func (m *machine) copyDisk() disk {
	m.t.Helper()
	dir := diskDir(m.t)
	d := disk{filepath.Join(dir, "img"), filepath.Join(dir, "loader"), m.boots}
	sh(m.t, "cp", "--sparse=always", m.image, d.image)
	sh(m.t, "cp", "-a", m.loader, d.loader)
	return d
}

// shutDown ends the machine in peace and returns its disk.
func (m *machine) shutDown() disk {
	m.t.Helper()
	m.kill()
	return m.copyDisk()
}

// kill takes the machine's file systems away. Nobody uses them any more.
func (m *machine) kill() {
	m.t.Helper()
	// A program that another test starts has our files open until its exec.
	for range 50 {
		mounts := m.mounts()
		if len(mounts) == 0 {
			break
		}
		slices.Reverse(mounts)
		busy := false
		for _, at := range mounts {
			busy = unix.Unmount(at, 0) != nil || busy
		}
		if busy {
			time.Sleep(100 * time.Millisecond)
		}
	}
	if left := m.mounts(); len(left) > 0 {
		m.t.Fatalf("cannot unmount %q", left)
	}
	// A command of another test may have copied our mounts into a mount
	// namespace of its own, and for so long they live: long, on a machine that
	// has much to do.
	for range 1200 {
		fd, err := unix.Open(m.device, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	m.t.Fatalf("%s stays in use", m.device)
}

// powerOn puts the disk in and mounts it as a boot does.
func (m *machine) powerOn(d disk) {
	m.t.Helper()
	sh(m.t, "cp", "--sparse=always", d.image, m.image)
	sh(m.t, "blockdev", "--flushbufs", m.device)
	check(m.t, os.RemoveAll(m.loader))
	sh(m.t, "cp", "-a", d.loader, m.loader)
	check(m.t, unix.Mount(m.device, m.top, "btrfs", 0, "subvolid=5"))
	m.freshRun()
	m.mountRoot(d.boots)
}

// journal is where the open operation of the machine is recorded.
func (m *machine) journal() string {
	found, err := filepath.Glob(filepath.Join(m.top, "@beadm/*/state.json"))
	if err != nil || len(found) != 1 {
		m.t.Fatalf("%q %v", found, err)
	}
	return filepath.Join(filepath.Dir(found[0]), "journal.json")
}
