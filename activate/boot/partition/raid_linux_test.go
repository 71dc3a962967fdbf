package partition

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRaidMember puts the magic where md has it (mdadm's super0.c and super1.c:
// of 0.90 at the last whole 64 KiB, of 1.0 at 8 KiB before the end, rounded
// down to 4 KiB; of 1.2 at 4 KiB, where a member looks like no file system).
func TestRaidMember(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int64
		at     int64 // of the magic; 0: none
		member bool
	}{
		{"none", 64 << 20, 0, false},
		{"1.0", 64 << 20, 64<<20 - 8<<10, true},
		{"1.0 of an odd size", 64<<20 + 5*512, 64<<20 - 8<<10, true},
		{"0.90", 64 << 20, 64<<20 - 64<<10, true},
		{"elsewhere", 64 << 20, 32 << 20, false},
		{"too small", 4096, 0, false},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "device"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		err = f.Truncate(c.size)
		if err == nil && c.at > 0 {
			_, err = f.WriteAt(binary.LittleEndian.AppendUint32(nil, 0xa92b4efc), c.at)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := raidMember(f, c.size); got != c.member {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestMirrorMembers reads directories made as sysfs has them (Linux,
// Documentation/admin-guide/md.rst).
func TestMirrorMembers(t *testing.T) {
	for _, c := range []struct{ level, degraded, metadata, says string }{
		{"raid1", "0", "1.0", ""},
		{"raid1", "0", "0.90", ""},
		{"raid1", "0", "1.2", "finds no file system"},
		{"raid1", "1", "1.0", "lacks 1"},
		{"raid5", "0", "1.0", "no RAID 1"},
	} {
		dir := t.TempDir()
		sys := filepath.Join(dir, "md0")
		err := errors.Join(os.MkdirAll(filepath.Join(sys, "md"), 0o755), os.Mkdir(filepath.Join(sys, "slaves"), 0o755))
		for name, text := range map[string]string{"level": c.level, "degraded": c.degraded, "metadata_version": c.metadata} {
			err = errors.Join(err, os.WriteFile(filepath.Join(sys, "md", name), []byte(text+"\n"), 0o644))
		}
		for _, name := range []string{"sda1", "sdb1"} {
			err = errors.Join(err, os.Mkdir(filepath.Join(dir, name), 0o755), os.Symlink("../../"+name, filepath.Join(sys, "slaves", name)))
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := mirrorMembers(sys)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v: %v %v", c, got, err)
			}
			continue
		}
		if err != nil || len(got) != 2 || got[0] != filepath.Join(dir, "sda1") {
			t.Errorf("%+v: %v %v", c, got, err)
		}
	}
}
