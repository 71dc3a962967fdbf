package activate

import (
	"os"
	"path/filepath"
	"testing"
)

// TestTakePools: the boot environment that starts knows the pools as the one
// that ran last knew them, and nothing else is touched.
func TestTakePools(t *testing.T) {
	last, now, out := t.TempDir(), t.TempDir(), t.TempDir()
	write := func(dir, name, text string, mode os.FileMode) {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(last, "etc/zfs/zpool.cache", "rpool tank", 0o600)
	write(now, "etc/zfs/zpool.cache", "rpool", 0o644)
	write(last, "etc/zfs/zfs-list.cache/tank", "tank/mail", 0o644)
	write(last, "etc/zfs/zfs-list.cache/mine", "theirs", 0o644)
	write(now, "etc/zfs/zfs-list.cache/rpool", "rpool/ROOT", 0o644)
	write(out, "secret", "s", 0o600)
	if err := os.Symlink(filepath.Join(out, "secret"), filepath.Join(now, "etc/zfs/zfs-list.cache/mine")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(out, "secret"), filepath.Join(last, "etc/zfs/zfs-list.cache/link")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := takePools(last, now); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"etc/zfs/zpool.cache": "rpool tank", "etc/zfs/zfs-list.cache/tank": "tank/mail", "etc/zfs/zfs-list.cache/rpool": "rpool/ROOT",
		} {
			if got, err := os.ReadFile(filepath.Join(now, name)); string(got) != want {
				t.Errorf("%s: %q %v", name, got, err)
			}
		}
	}
	if info, err := os.Stat(filepath.Join(now, "etc/zfs/zpool.cache")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v: it is looser than it was", info.Mode(), err)
	}
	for _, name := range []string{"boot", "etc/zfs/zfs-list.cache/link"} {
		if _, err := os.Lstat(filepath.Join(now, name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(out, "secret")); string(got) != "s" {
		t.Errorf("a link was followed: %q", got)
	}

	// One whose first pool came behind the clone.
	first := t.TempDir()
	if err := os.MkdirAll(filepath.Join(first, "etc/zfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := takePools(last, first); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(first, "etc/zfs/zfs-list.cache/tank")); string(got) != "tank/mail" {
		t.Errorf("%q %v", got, err)
	}

	// Systems without ZFS.
	if err := takePools(t.TempDir(), now); err != nil {
		t.Error(err)
	}
	bare := t.TempDir()
	if err := takePools(last, bare); err != nil {
		t.Error(err)
	}
	if list, _ := os.ReadDir(bare); len(list) > 0 {
		t.Errorf("made %v", list)
	}
}
