package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 128<<20); err != nil {
		t.Fatal(err)
	}
	loop := run(t, "losetup", "-f", "--show", disk)
	defer run(t, "losetup", "-d", loop)
	const dev = "/dev/mapper/beadm-away"
	target := func(how string) {
		t.Helper()
		run(t, "dmsetup", "suspend", "--nolockfs", "--noflush", "beadm-away")
		run(t, "dmsetup", "load", "beadm-away", "--table", how)
		run(t, "dmsetup", "resume", "beadm-away")
	}
	const answers, fails = "0 262144 linear %s 0", "0 262144 error"
	exec.Command("modprobe", "dm_mod").Run() // dmsetup says what is missing
	run(t, "dmsetup", "create", "beadm-away", "--table", fmt.Sprintf(answers, loop))
	defer run(t, "dmsetup", "remove", "--retry", "beadm-away")
	at := filepath.Join(t.TempDir(), "full")
	run(t, "zpool", "create", "-O", "mountpoint=none", pool, dev)
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
	f, err := os.Create(filepath.Join(at, "file"))
	if err != nil {
		t.Fatal(err)
	}
	target(fails)
	written := make(chan error, 1)
	go func() { // it does not come back before the pool does
		_, err := f.WriteString("mail")
		written <- errors.Join(err, f.Sync(), f.Close())
	}()
	for range 300 {
		if checkPool(pool) != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	err = opens()
	if be.KindOf(err) != be.NoStore || !strings.Contains(err.Error(), "pool "+pool+" is suspended") {
		t.Errorf("a pool that is suspended: %v", err)
	}
	target(fmt.Sprintf(answers, loop))
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
