package zfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// TestCheckPool on recorded states: Debian 12's OpenZFS 2.1.11.
func TestCheckPool(t *testing.T) {
	was := kstat
	kstat = t.TempDir()
	defer func() { kstat = was }()
	for name, state := range map[string]string{"good": "ONLINE\n", "worse": "DEGRADED\n", "away": "SUSPENDED\n"} {
		if err := os.Mkdir(filepath.Join(kstat, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(kstat, name, "state"), []byte(state), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(kstat, "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	for pool, want := range map[string]string{"good": "", "worse": "", "old": "", "away": "pool away is suspended", "none": "pool none is not imported"} {
		err := checkPool(pool)
		if want == "" && err != nil || want != "" && (be.KindOf(err) != be.NoStore || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v", pool, err)
		}
	}
	kstat = filepath.Join(kstat, "none")
	if err := checkPool("any"); err != nil {
		t.Error(err)
	}
}

// TestSuspended: of a pool whose disk is gone it is said at once; it works again
// when the disk does, and one that is exported is said to be that.
func TestSuspended(t *testing.T) {
	pool := needPool(t) + "-away"
	small := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=72m", "tmpfs", small)
	defer run(t, "umount", "-l", small)
	disk := filepath.Join(small, "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 256<<20); err != nil {
		t.Fatal(err)
	}
	dev := run(t, "losetup", "-f", "--show", disk)
	defer run(t, "losetup", "-d", dev)
	at := filepath.Join(t.TempDir(), "full")
	run(t, "zpool", "create", "-O", "mountpoint=none", "-O", "compression=off", pool, dev)
	run(t, "zfs", "create", "-o", "canmount=off", pool+"/ROOT")
	run(t, "zfs", "create", "-o", "canmount=noauto", "-o", "mountpoint=/", pool+"/ROOT/one")
	run(t, "zfs", "create", "-o", "mountpoint="+at, pool+"/data")
	opens := func() error {
		s, err := Open(context.Background(), Config{BERoot: pool + "/ROOT", Root: t.TempDir()})
		if err == nil {
			_, err = s.List(context.Background())
			s.Close()
		}
		return err
	}
	if err := opens(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(at, "big"))
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { // it does not come back before the pool does
		_, err := f.Write(make([]byte, 120<<20))
		written <- errors.Join(err, f.Sync(), f.Close())
	}()
	for range 300 {
		if err = opens(); err != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if be.KindOf(err) != be.NoStore || !strings.Contains(err.Error(), "pool "+pool+" is suspended") {
		t.Errorf("a pool that is suspended: %v", err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", unix.MS_REMOUNT, "size=400m"); err != nil {
		t.Fatal(err)
	}
	run(t, "zpool", "clear", pool)
	if err := <-written; err != nil {
		t.Error(err)
	}
	if err := opens(); err != nil {
		t.Errorf("once its disk is back: %v", err)
	}
	run(t, "zpool", "export", pool)
	if err := opens(); be.KindOf(err) != be.NoStore || !strings.Contains(err.Error(), "zpool import "+pool) {
		t.Errorf("a pool that is exported: %v", err)
	}
}
