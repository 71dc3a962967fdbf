package btrfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/storetest"
)

// needBtrfs skips where no btrfs can be mounted, and says why.
func needBtrfs(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting a btrfs takes root")
	}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("\tbtrfs\n")) {
		if out, err := exec.Command("modprobe", "btrfs").CombinedOutput(); err != nil {
			t.Skipf("NOT RUN: this kernel has no btrfs: %v: %s", err, out)
		}
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// images are the files behind loop devices.
var images = map[string]string{}

// newDisk makes a btrfs on a loop device and mounts its top level.
func newDisk(t *testing.T) (device, top string) {
	t.Helper()
	needBtrfs(t)
	img := filepath.Join(t.TempDir(), "btrfs.img")
	f, err := os.Create(img)
	if err == nil {
		err = f.Truncate(256 << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	run(t, "mkfs.btrfs", "-q", img)
	device = strings.TrimSpace(run(t, "losetup", "-f", "--show", img))
	t.Cleanup(func() { run(t, "losetup", "-d", device) })
	images[device] = img
	top = mountAt(t, device, "subvolid=5")
	return device, top
}

func mountAt(t *testing.T, device, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(device, dir, "btrfs", 0, options); err != nil {
		t.Fatalf("mount %s: %v", options, err)
	}
	t.Cleanup(func() {
		for i := 0; unix.Unmount(dir, unix.MNT_DETACH) == nil && i < 9; i++ {
		}
	})
	return dir
}

func openStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// newEnv is a system as Debian's installer leaves it, with two nested
// subvolumes of its own and one inside another.
func newEnv(t *testing.T) *storetest.Env { return envAt(t, "rootfs", "@rootfs") }

// envAt is one whose root is that subvolume, which is shown by that name.
func envAt(t *testing.T, shown, subvol string) *storetest.Env {
	device, top := newDisk(t)
	if err := os.MkdirAll(filepath.Dir(filepath.Join(top, subvol)), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "btrfs", "-q", "subvolume", "create", filepath.Join(top, subvol))
	write(t, filepath.Join(top, subvol, "etc/fstab"), "UUID=x / btrfs rw,noatime,subvolid=256,subvol=/"+subvol+" 0 0\n")
	subs := []string{"var/lib/data", "var/lib/data/deep/inner", "srv"}
	for _, sub := range subs {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(top, subvol, sub)), 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, "btrfs", "-q", "subvolume", "create", filepath.Join(top, subvol, sub))
	}
	root := mountAt(t, device, "subvol="+subvol)
	at := func(name, path string) string {
		if name == shown {
			return filepath.Join(top, subvol, path)
		}
		return filepath.Join(top, "@be-"+name, path)
	}
	return &storetest.Env{
		Open:         func(t *testing.T) be.Store { return openStore(t, Config{Root: root}) },
		OpenAt:       func(t *testing.T, loc string) be.Store { return openStore(t, Config{Root: root, BERoot: loc}) },
		Root:         root,
		Running:      shown,
		MountSource:  device,
		Subordinates: subs,
		SetMark: func(t *testing.T, name, path, value string) {
			if err := unix.Setxattr(at(name, path), "trusted.test", []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		},
		Mark: func(t *testing.T, name, path string) string {
			b := make([]byte, 100)
			n, err := unix.Getxattr(at(name, path), "trusted.test", b)
			if err != nil {
				return fmt.Sprint(err)
			}
			return string(b[:n])
		},
		Elsewhere: func(t *testing.T) string {
			run(t, "btrfs", "-q", "subvolume", "create", top+"/@log")
			return mountAt(t, device, "subvol=@log")
		},
		Beside: func(t *testing.T, far bool) be.Store {
			at := top
			if far {
				_, at = newDisk(t)
			}
			dir := filepath.Join(at, "beside")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			return openStore(t, Config{BERoot: dir, Root: dir})
		},
		Used:      func(t *testing.T) int64 { return inUse(t, top) },
		Intercept: func(s be.Store, f func(when, what string) error) { s.(*Store).effect = f },
	}
}

// inUse is what btrfs says of data and metadata, each counted once.
func inUse(t *testing.T, top string) (bytes int64) {
	t.Helper()
	for line := range strings.Lines(run(t, "btrfs", "filesystem", "df", "-b", top)) {
		var total, used int64
		if _, after, ok := strings.Cut(line, ": "); ok && !strings.HasPrefix(line, "GlobalReserve") {
			if _, err := fmt.Sscanf(after, "total=%d, used=%d", &total, &used); err != nil {
				t.Fatalf("btrfs filesystem df says %q", line)
			}
			bytes += used
		}
	}
	return bytes
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) { storetest.Run(t, storetest.Fixture{New: newEnv}) }

// TestContractOnSnapper: the same where what runs is a snapshot of snapper's.
func TestContractOnSnapper(t *testing.T) {
	storetest.Run(t, storetest.Fixture{New: func(t *testing.T) *storetest.Env {
		return envAt(t, "snapper-1", "snapshots/1/snapshot")
	}})
}
