package grub

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/activate/boot/durable"
	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/simfirmware"
	"beadm/be"
)

// tool ends a test for which something is missing.
func tool(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v: install e2fsprogs util-linux mount grub-common", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting needs root")
	}
}

// loopExt4 is an ext4 on a loop device, mounted at dir.
func loopExt4(t *testing.T, mkfs []string, options string) (dir, img string) {
	t.Helper()
	tool(t, "mkfs.ext4", "losetup", "mount", "umount")
	img = filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 24<<20); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", append(append([]string{"-q", "-F"}, mkfs...), img)...)
	out, err := exec.Command("losetup", "--find", "--show", img).Output()
	if err != nil {
		t.Fatalf("losetup: %v", err)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "-d", loop).Run() })
	dir = t.TempDir()
	args := []string{"-t", "ext4", loop, dir}
	if options != "" {
		args = append(args, "-o", options)
	}
	command(t, "mount", args...)
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	return dir, img
}

func TestMedium(t *testing.T) {
	loader := func(dir string) *Loader {
		return New(Config{Dir: dir, AllowLoop: true, Reached: Vouched, Variables: simfirmware.Vars{Absent: true}})
	}
	refused := func(t *testing.T, l *Loader, kind be.Kind, word string) {
		t.Helper()
		_, _, err := l.token()
		if be.KindOf(err) != kind || !strings.Contains(err.Error(), word) {
			t.Errorf("error %v, want %q of kind %d", err, word, kind)
		}
		if err := l.Install(t.Context(), loadertest.Entry("a", "A")); err == nil {
			t.Error("installed there")
		}
		if list, _ := os.ReadDir(l.cfg.Dir); len(list) > 0 && list[0].Name() == "beadm" {
			t.Error("something was written there")
		}
	}
	t.Run("no mount point", func(t *testing.T) { refused(t, loader(t.TempDir()), be.NoStore, "no partition is mounted") })
	t.Run("missing", func(t *testing.T) { refused(t, loader("/nonexistent"), be.NoStore, "/nonexistent") })
	t.Run("tmpfs", func(t *testing.T) {
		tool(t, "mount")
		dir := t.TempDir()
		command(t, "mount", "-t", "tmpfs", "tmpfs", dir)
		defer unix.Unmount(dir, 0)
		refused(t, loader(dir), be.Unbootable, "is tmpfs")
	})
	t.Run("ext4", func(t *testing.T) {
		dir, img := loopExt4(t, nil, "")
		m, err := loader(dir).medium()
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("blkid", "-p", "-s", "UUID", "-o", "value", img).Output()
		if err != nil || strings.TrimSpace(string(out)) != m.uuid {
			t.Errorf("UUID %q, blkid says %q %v", m.uuid, out, err)
		}
		refused(t, New(Config{Dir: dir, Reached: Vouched, Variables: simfirmware.Vars{Dir: t.TempDir()}}), be.Unbootable, "partition of a plain disk")
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		if _, err := loader(link).medium(); err != nil {
			t.Errorf("by a link: %v", err)
		}
		sub := filepath.Join(dir, "sub")
		bind := t.TempDir()
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		refused(t, loader(sub), be.NoStore, "no partition is mounted")
		command(t, "mount", "--bind", sub, bind)
		defer unix.Unmount(bind, 0)
		refused(t, loader(bind), be.NoStore, "only the directory /sub")
		if err := loader(dir).Install(t.Context(), loadertest.Entry("a", "A")); err != nil {
			t.Fatal(err)
		}
		if err := loader(dir).Probe(t.Context()); err != nil {
			t.Error(err)
		}
		command(t, "mount", "-o", "remount,ro", dir)
		if err := loader(dir).Probe(t.Context()); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("read-only: %v", err)
		}
		command(t, "mount", "-o", "remount,rw", dir)
		env := filepath.Join(dir, "beadm", "env")
		if out, err := exec.Command("chattr", "+j", env).CombinedOutput(); err != nil {
			t.Logf("NOT RUN: a journalled file needs CAP_SYS_RESOURCE: %s", out)
			return
		}
		if err := loader(dir).Probe(t.Context()); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "attributes") {
			t.Errorf("journalled file: %v", err)
		}
		if loader(dir).Arm(t.Context(), loadertest.ID("a")) == nil {
			t.Error("armed there")
		}
	})
	t.Run("inline_data", func(t *testing.T) {
		dir, _ := loopExt4(t, []string{"-O", "inline_data"}, "")
		refused(t, loader(dir), be.Unbootable, "inline_data")
	})
	t.Run("data=journal", func(t *testing.T) {
		dir, _ := loopExt4(t, nil, "data=journal")
		refused(t, loader(dir), be.Unbootable, "data=journal")
		// With UEFI the firmware keeps the token.
		u := newUEFI(t)
		cfg := u.loader(nil).cfg
		cfg.Dir, cfg.Token, cfg.AnyMedium, cfg.AllowLoop = dir, "", false, true
		u.ok(New(cfg).Install(t.Context(), loadertest.Entry("a", "A")))
		u.ok(New(cfg).Arm(t.Context(), loadertest.ID("a")))
		if got := u.ours(); len(got) != 2 {
			t.Errorf("armed, the firmware has %s of ours", got)
		}
	})
}

// TestReadableDevice reads directories made as sysfs has them (Linux,
// Documentation/ABI/testing/sysfs-block-dm, Documentation/admin-guide/md.rst).
func TestReadableDevice(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		says  string // empty: accepted
	}{
		{"mirror", map[string]string{"md/level": "raid1\n", "md/degraded": "0\n"}, ""},
		{"degraded", map[string]string{"md/level": "raid1\n", "md/degraded": "1\n"}, "lacks 1"},
		{"stripes", map[string]string{"md/level": "raid0\n"}, "no RAID 1"},
		{"linear", map[string]string{"dm/uuid": "LVM-abc\n", "slaves/vda2/x": ""}, ""},
		{"on a mirror", map[string]string{"dm/uuid": "LVM-abc\n", "slaves/md0/x": ""}, ""},
		{"thin", map[string]string{"dm/uuid": "LVM-abc\n", "slaves/dm-2/x": ""}, "not linear"},
		{"encrypted", map[string]string{"dm/uuid": "CRYPT-LUKS2-abc\n", "slaves/vda2/x": ""}, "neither"},
		{"zram", nil, "neither"},
	} {
		sys := filepath.Join(t.TempDir(), "dev")
		for name, text := range c.files {
			if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(sys, name)), 0o755), os.WriteFile(filepath.Join(sys, name), []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := readableDevice(sys); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

// TestSuperblock reads superblocks that mkfs and tune2fs made.
func TestSuperblock(t *testing.T) {
	tool(t, "mkfs.ext4", "tune2fs", "mkfs.vfat", "blkid")
	for _, c := range []struct {
		name string
		make [][]string
		bad  string
	}{
		{"ext4", [][]string{{"mkfs.ext4", "-q"}}, ""},
		{"ext2", [][]string{{"mkfs.ext2", "-q"}}, ""},
		{"inline", [][]string{{"mkfs.ext4", "-q", "-O", "inline_data"}}, "inline_data"},
		{"journal", [][]string{{"mkfs.ext4", "-q"}, {"tune2fs", "-o", "journal_data"}}, "data=journal"},
		{"ordered", [][]string{{"mkfs.ext4", "-q"}, {"tune2fs", "-o", "journal_data_ordered"}}, ""},
		{"fat12", [][]string{{"mkfs.vfat", "-F", "12"}}, ""},
		{"fat16", [][]string{{"mkfs.vfat", "-F", "16"}}, ""},
		{"fat32", [][]string{{"mkfs.vfat", "-F", "32"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "img")
			if err := os.WriteFile(img, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(img, 40<<20); err != nil {
				t.Fatal(err)
			}
			for _, cmd := range c.make {
				command(t, cmd[0], append(cmd[1:], img)...)
			}
			super, err := readSuper(img)
			if err != nil {
				t.Fatal(err)
			}
			var m medium
			if strings.HasPrefix(c.name, "fat") {
				m.uuid = fatID(super)
			} else if m, err = extMedium("/x", "x", super); c.bad != "" {
				if err = errors.Join(err, m.readOnly); err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("error %v, want %q", err, c.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("blkid", "-p", "-s", "UUID", "-o", "value", img).Output()
			if err != nil || !strings.EqualFold(strings.TrimSpace(string(out)), m.uuid) {
				t.Errorf("UUID %q, blkid says %q %v", m.uuid, out, err)
			}
		})
	}
}

// TestOnDiskForGRUB takes a copy of the device at the moment each method has
// returned, with the file system still mounted, and lets GRUB's own ext4
// driver read it: it does not replay the journal.
func TestOnDiskForGRUB(t *testing.T) {
	tool(t, "grub-fstest")
	dir, img := loopExt4(t, nil, "")
	grubReads := func(name string) []byte {
		t.Helper()
		snap := filepath.Join(t.TempDir(), "snap")
		command(t, "cp", "--sparse=always", img, snap)
		out, err := exec.Command("grub-fstest", snap, "cat", "(loop0)/beadm/"+name).Output()
		if err != nil {
			return nil
		}
		return out
	}
	same := func(when string) {
		t.Helper()
		for _, name := range []string{"grub.cfg", "default.cfg", "env", "entries/" + loadertest.ID("a") + ".cfg", "entries/" + loadertest.ID("b") + ".cfg"} {
			want, err := os.ReadFile(filepath.Join(dir, "beadm", name))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if got := grubReads(name); !bytes.Equal(got, want) {
				t.Errorf("%s: GRUB reads %d bytes of %s, Linux %d", when, len(got), name, len(want))
			}
		}
	}
	l := New(Config{Dir: dir, AllowLoop: true, Reached: Vouched})
	step := func(when string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		same(when)
	}
	step("install", l.Install(t.Context(), loadertest.Entry("a", "A")))
	step("put", l.Put(t.Context(), loadertest.Entry("b", "B")))
	step("put changed", l.Put(t.Context(), loadertest.Entry("b", strings.Repeat("B", 90))))
	step("arm", l.Arm(t.Context(), loadertest.ID("b")))
	step("set default", l.SetDefault(t.Context(), loadertest.ID("b")))
	step("remove", l.Remove(t.Context(), loadertest.ID("a")))

	// Teeth: what is durable for Linux, which replays the journal, GRUB does
	// not find.
	l.cfg.Disk = durable.Disk{Settle: durable.SyncDir}
	if err := l.Put(t.Context(), loadertest.Entry("c", "C")); err != nil {
		t.Fatal(err)
	}
	if grubReads("entries/"+loadertest.ID("c")+".cfg") != nil {
		t.Error("fsync alone was enough: this test would not notice if nothing else were done")
	}
}

func TestMountinfo(t *testing.T) {
	list, err := parseMountinfo("36 35 254:2 / /mnt/a\\040b rw,noatime master:1 - vfat /dev/vda2 rw,errors=remount-ro\n" +
		"37 35 0:30 /sub /x ro - zfs rpool/x\\040y rw,xattr\n")
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if m := list[0]; m.point != "/mnt/a b" || m.dev != "254:2" || m.fstype != "vfat" || m.has("ro") || !m.has("noatime") {
		t.Errorf("%+v", m)
	}
	if m := list[1]; m.root != "/sub" || !m.has("ro") {
		t.Errorf("%+v", m)
	}
	if _, err := parseMountinfo("nonsense\n"); err == nil {
		t.Error("nonsense accepted")
	}
}

func TestPlainPartition(t *testing.T) {
	for _, c := range []struct {
		sys   string
		loop  bool
		right bool
	}{
		{"/sys/devices/virtual/block/dm-0", true, false},
		{"/sys/devices/virtual/block/md0", true, false},
		{"/sys/devices/virtual/block/md0/md0p1", true, false},
		{"/sys/devices/virtual/block/zram0", true, false},
		{"/sys/devices/virtual/block/loop0", false, false},
		{"/sys/devices/virtual/block/loop0/loop0p1", true, true},
		{"/sys/devices/virtual/block/loop0", true, true},
		{"/sys/devices/pci0000:00/nonexistent/block/sda", true, false}, // no file "partition"
	} {
		if err := plainPartition("/boot/efi", c.sys, c.loop); (err == nil) != c.right {
			t.Errorf("%s: %v", c.sys, err)
		}
	}
}
