package dir

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

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting takes root")
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

// disk is a file system of its own, mounted at top.
type disk struct {
	source, top string
	apart       bool // copies share nothing
}

// newDisk makes one of that type, on a loop device unless it is in memory.
func newDisk(t *testing.T, fsType string, mkfs ...string) disk {
	t.Helper()
	needRoot(t)
	d := disk{top: t.TempDir(), apart: fsType == "ext4" || fsType == "tmpfs"}
	if fsType == "tmpfs" {
		d.source = "beadm-" + be.NewToken()
	} else {
		known, err := os.ReadFile("/proc/filesystems")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(known, []byte("\t"+fsType+"\n")) {
			if out, err := exec.Command("modprobe", fsType).CombinedOutput(); err != nil {
				t.Skipf("NOT RUN: this kernel has no %s: %v: %s", fsType, err, out)
			}
		}
		img := filepath.Join(t.TempDir(), "img")
		if err := os.WriteFile(img, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(img, 1<<30); err != nil { // XFS wants 300 MiB
			t.Fatal(err)
		}
		run(t, append(mkfs, img)...)
		d.source = strings.TrimSpace(run(t, "losetup", "-f", "--show", img))
		t.Cleanup(func() { run(t, "losetup", "-d", d.source) })
	}
	if err := unix.Mount(d.source, d.top, fsType, 0, ""); err != nil {
		t.Fatalf("mount %s: %v", fsType, err)
	}
	t.Cleanup(func() {
		for i := 0; unix.Unmount(d.top, unix.MNT_DETACH) == nil && i < 9; i++ {
		}
	})
	return d
}

func newXFS(t *testing.T) disk { return newDisk(t, "xfs", "mkfs.xfs", "-q", "-m", "reflink=1") }

func newBtrfs(t *testing.T) disk { return newDisk(t, "btrfs", "mkfs.btrfs", "-q") }

func newTmpfs(t *testing.T) disk { return newDisk(t, "tmpfs") }

func newExt4(t *testing.T) disk { return newDisk(t, "ext4", "mkfs.ext4", "-q", "-O", "^has_journal") }

func openStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// How what runs is reached: by the name of its directory, by a link to it, as
// with the guests that a runtime starts from one, or by a bind mount.
const (
	byName = iota
	byLink
	byMount
)

func newEnv(t *testing.T, d disk, how int) *storetest.Env {
	beroot := filepath.Join(d.top, "machines")
	running := filepath.Join(beroot, "web")
	write(t, filepath.Join(running, "etc/fstab"), "# nothing is mounted\n")
	root := running
	switch how {
	case byLink:
		root = filepath.Join(t.TempDir(), "web")
		must(t, os.Symlink(running, root))
	case byMount:
		root = t.TempDir()
		must(t, unix.Mount(running, root, "", unix.MS_BIND, ""))
		t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	}
	at := func(name string) string {
		if name == "web" {
			return running
		}
		return filepath.Join(beroot, "@be-"+name)
	}
	return &storetest.Env{
		Open: func(t *testing.T) be.Store { return openStore(t, Config{BERoot: beroot, Root: root}) },
		OpenAt: func(t *testing.T, loc string) be.Store {
			return openStore(t, Config{BERoot: strings.TrimPrefix(loc, "dir:"), Root: root})
		},
		Root:        root,
		Running:     "web",
		MountSource: d.source,
		Apart:       d.apart,
		SetMark: func(t *testing.T, name, path, value string) {
			must(t, unix.Setxattr(at(name), "trusted.test", []byte(value), 0))
		},
		Mark: func(t *testing.T, name, path string) string {
			b := make([]byte, 100)
			n, err := unix.Getxattr(at(name), "trusted.test", b)
			if err != nil {
				return fmt.Sprint(err)
			}
			return string(b[:n])
		},
		Intercept: func(s be.Store, f func(when, what string) error) { s.(*Store).effect = f },
	}
}

func TestContract(t *testing.T) {
	for name, f := range map[string]struct {
		disk func(*testing.T) disk
		how  int
	}{
		"ext4":  {newExt4, byName},
		"tmpfs": {newTmpfs, byLink},
		"xfs":   {newXFS, byMount},
		"btrfs": {newBtrfs, byLink},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for a disk of its own
			d := f.disk(t)
			whole := d.top
			n := 0
			storetest.Run(t, storetest.Fixture{New: func(t *testing.T) *storetest.Env {
				n++
				d.top = filepath.Join(whole, fmt.Sprint(n))
				return newEnv(t, d, f.how)
			}})
		})
	}
}
