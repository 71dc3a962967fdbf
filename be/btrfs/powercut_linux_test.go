package btrfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// TestPowerCut copies the disk as it is before and after every effect of
// Create, Rename and Destroy, with nothing flushed for the purpose, and mounts
// the copy: what a machine would find whose power was cut then. Whatever has
// the name of a boot environment there is one, with its UUID, its own fstab
// and all that is nested in it.
func TestPowerCut(t *testing.T) {
	device, _, root := system(t, "@rootfs")
	write(t, root+"/etc/fstab", "UUID=1 / btrfs subvol=@rootfs 0 0\n")
	run(t, "btrfs", "-q", "subvolume", "create", root+"/srv")
	write(t, root+"/srv/content", strings.Repeat("data ", 10000))
	s := openStore(t, Config{Root: root})
	_, err := s.Adopt(ctx, "rootfs")
	check(t, err)
	check(t, s.Flush(ctx))

	cuts := 0
	seen := map[string]int{}
	s.effect = func(when, what string) error {
		cuts++
		for _, line := range afterPowerCut(t, images[device], when+" "+what) {
			seen[line]++
		}
		return nil
	}
	_, err = s.Create(ctx, be.CreateOptions{Name: "new", From: "rootfs", AutoSnapshot: "auto", Description: "text"})
	check(t, err)
	check(t, s.Rename(ctx, "new", "renamed"))
	_, err = s.Destroy(ctx, "renamed", false)
	check(t, err)
	for _, want := range []string{"rootfs", "new -", "new", "renamed", "renamed -"} {
		if seen[want] == 0 {
			t.Errorf("no cut left %q; %d cuts left %v", want, cuts, seen)
		}
	}
	if seen["rootfs"] != cuts {
		t.Errorf("%d of %d cuts left the running one", seen["rootfs"], cuts)
	}
	t.Logf("%d cuts left %v", cuts, seen)
}

// afterPowerCut checks a copy of the disk and returns what it lists.
func afterPowerCut(t *testing.T, img, when string) (lines []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "beadm-cut-")
	check(t, err)
	defer os.RemoveAll(dir)
	disk := filepath.Join(dir, "img")
	run(t, "cp", "--sparse=always", img, disk)
	device := strings.TrimSpace(run(t, "losetup", "-f", "--show", disk))
	defer run(t, "losetup", "-d", device)
	top := filepath.Join(dir, "top")
	check(t, os.Mkdir(top, 0o700))
	// The first mount replays the log, as after a power cut. It gets an id of
	// its own from the kernel, as the original is mounted too; for more than
	// one mount of it the copy needs one on the disk.
	if err := unix.Mount(device, top, "btrfs", 0, "subvolid=5"); err != nil {
		t.Skipf("NOT RUN: this kernel (before Linux 6.7) does not mount a copy beside the original: %v", err)
	}
	check(t, unix.Unmount(top, 0))
	if out := run(t, "btrfstune", "-m", "-f", device); strings.Contains(strings.ToLower(out), "error") {
		t.Fatalf("%s: %s", when, out)
	}
	if err := unix.Mount(device, top, "btrfs", 0, "subvolid=5"); err != nil {
		t.Fatalf("%s: the disk cannot be mounted: %v", when, err)
	}
	defer unix.Unmount(top, 0)
	s, err := Open(ctx, Config{Root: dir, BERoot: top})
	check(t, err)
	defer s.Close()
	list, err := s.List(ctx)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, b := range list {
		line := b.Name
		if b.Incomplete {
			line += " -"
		}
		lines = append(lines, line)
		if b.Incomplete {
			continue
		}
		subvol := filepath.Join(top, b.Location)
		fstab, _ := os.ReadFile(subvol + "/etc/fstab")
		content, _ := os.ReadFile(subvol + "/srv/content")
		// A name in fstab that the rename has left behind is put up with: a
		// root that is mounted already is not looked up by it.
		own := strings.TrimPrefix(b.Location, "/")
		if b.UUID == "" || !bytes.Contains(fstab, []byte("subvol="+own+" ")) && own != "@be-renamed" || len(content) != 50000 {
			t.Errorf("%s: %s is called whole, with UUID %q, fstab %q and %d bytes nested in it", when, b.Name, b.UUID, fstab, len(content))
		}
	}
	for _, b := range list {
		if b.Incomplete {
			if _, err := s.Destroy(ctx, b.Name, false); err != nil {
				t.Errorf("%s: Destroy of the incomplete one: %v", when, err)
			}
		}
	}
	if left := fmt.Sprint(listNames(t, s)); strings.Contains(left, "-") {
		t.Errorf("%s: left are %s", when, left)
	}
	return lines
}
