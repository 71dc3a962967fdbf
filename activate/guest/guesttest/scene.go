//go:build linux

package guesttest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a real btrfs on a loop image, mounted at Top, or a dataset of a real
// ZFS, that holds a real Debian to be cloned.
type Disk struct {
	Top   string
	clone func(t *testing.T, dir string)

	device   string // that it is on
	intruder string // the program; what a test makes of PATH later does not matter
}

// NewDisk makes one; it is gone when the test ends. archive is where
// testdata/demo/cached.sh is.
func NewDisk(t *testing.T, cached string) *Disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("guests are started on a btrfs of their own: run this as root")
	}
	archive := strings.TrimSpace(sh(t, "sh", cached))
	image := filepath.Join(t.TempDir(), "disk")
	sh(t, "truncate", "-s", "3G", image)
	sh(t, "mkfs.btrfs", "-q", image)
	// On a path of its own that anybody may enter: LXC mounts a root of a guest
	// that has a user namespace as that guest's root.
	top, err := os.MkdirTemp("/var/tmp", "beadm-guesttest-")
	check(t, err)
	t.Cleanup(func() { os.Remove(top) })
	check(t, os.Chmod(top, 0o755))
	device := strings.TrimSpace(sh(t, "losetup", "-f", "--show", image))
	t.Cleanup(func() { exec.Command("losetup", "-d", device).Run() })
	check(t, unix.Mount(device, top, "btrfs", 0, ""))
	t.Cleanup(func() {
		// What still runs in it shall not keep the image for ever.
		for range 50 {
			if unix.Unmount(top, 0) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("%s stays busy", top)
		unix.Unmount(top, unix.MNT_DETACH)
	})
	debian := filepath.Join(top, "debian")
	sh(t, "btrfs", "subvolume", "create", debian)
	unpack(t, archive, debian)
	return &Disk{Top: top, device: device, intruder: buildIntruder(t), clone: func(t *testing.T, dir string) { sh(t, "btrfs", "subvolume", "snapshot", debian, dir) }}
}

// NewDatasets makes one below the dataset top, which is mounted at a directory of
// the host and whose pool is on device; what it made is gone when the test ends.
// intruder is that program, where it cannot be built.
func NewDatasets(t *testing.T, top, archive, device, intruder string) *Disk {
	t.Helper()
	debian := top + "/debian"
	at := strings.TrimSpace(sh(t, "zfs", "get", "-Ho", "value", "mountpoint", top))
	sh(t, "zfs", "create", "-o", "mountpoint="+filepath.Join(at, ".debian"), debian)
	t.Cleanup(func() {
		// What has just ended may hold it for a moment.
		var out []byte
		for range 200 {
			var err error
			if out, err = exec.Command("zfs", "destroy", "-R", debian).CombinedOutput(); err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		holds, _ := exec.Command("sh", "-c", "grep -l lxc/clone /proc/[0-9]*/mounts | cut -d/ -f3 | xargs -r ps -o pid,ppid,args -p").CombinedOutput()
		t.Errorf("%s stays: %s%s", debian, out, holds)
	})
	unpack(t, archive, filepath.Join(at, ".debian"))
	sh(t, "zfs", "snapshot", debian+"@whole")
	n := 0
	return &Disk{Top: at, device: device, intruder: intruder, clone: func(t *testing.T, dir string) {
		n++
		sh(t, "zfs", "clone", "-o", "mountpoint="+dir, debian+"@whole", fmt.Sprintf("%s/clone%d", top, n))
	}}
}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	sh(t, "tar", "-C", dir, "--numeric-owner", "--xattrs", "--acls", "-xpf", archive)
}

// Clone makes a Debian at dir, a path below Top.
func (d *Disk) Clone(t *testing.T, dir string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(dir), 0o755))
	d.clone(t, dir)
}

// Shift gives all of dir to the ids of a user namespace that begins at FirstID.
func Shift(t *testing.T, dir string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if err := os.Lchown(path, int(st.Uid)+FirstID, int(st.Gid)+FirstID); err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return unix.Chmod(path, st.Mode&0o7777)
	}))
}

// FirstID is the host's number of the root of a guest with ids of its own.
const FirstID = 1000000 &^ 0xffff

// Point makes root a link to dir, a path beside it or below that, by one rename.
func Point(t *testing.T, root, dir string) {
	t.Helper()
	to, err := filepath.Rel(filepath.Dir(root), dir)
	check(t, err)
	next := filepath.Join(filepath.Dir(dir), "next")
	check(t, os.Symlink(to, next))
	check(t, os.Rename(next, root))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sh(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatalf("%q: %v: %s", argv, err, err.(interface{ Error() string }).Error())
	}
	return string(out)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), mode))
	check(t, os.Chmod(path, mode))
}
