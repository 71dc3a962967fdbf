//go:build linux

package guesttest

import (
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

// Disk is a real btrfs on a loop image, mounted at Top, that holds a real
// Debian to be cloned.
type Disk struct {
	Top    string
	device string
	debian string

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
	d := &Disk{Top: top, device: device, debian: filepath.Join(top, "debian"), intruder: buildIntruder(t)}
	sh(t, "btrfs", "subvolume", "create", d.debian)
	sh(t, "tar", "-C", d.debian, "--numeric-owner", "--xattrs", "--acls", "-xpf", archive)
	return d
}

// Clone makes a Debian at dir, a path below Top.
func (d *Disk) Clone(t *testing.T, dir string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(dir), 0o755))
	sh(t, "btrfs", "subvolume", "snapshot", d.debian, dir)
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
