package nspawn

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"beadm/activate/guest/guesttest"
)

func TestContract(t *testing.T) {
	disk := guesttest.NewDisk(t, "../../../testdata/demo/cached.sh")
	dir := filepath.Join(disk.Top, "machines")
	name := fmt.Sprintf("beadm-test-%d", os.Getpid())
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := New(Config{Dir: dir, LogDir: t.TempDir()})
	guesttest.Run(t, guesttest.Scene{Runtime: r, Guest: name, Root: filepath.Join(dir, name), Disk: disk})
	t.Run("ids of its own", func(t *testing.T) {
		name := name + "-ids"
		guesttest.Confined(t, guesttest.Scene{Runtime: r, Guest: name, Root: filepath.Join(dir, name), Disk: disk, Own: guesttest.Shift})
	})
}

// By systemd-nspawn@.service and on ZFS, where a host is run by systemd: this
// package's test binary is run in one, with the name of a dataset that is mounted
// on /var/lib/machines, the archive of a Debian, the disk of its pool and the program
// guesttest/intruder.
func TestContractOfService(t *testing.T) {
	top, archive := os.Getenv("BEADM_MACHINES"), os.Getenv("BEADM_MACHINES_TAR")
	if top == "" {
		t.Skip("NOT RUN: BEADM_MACHINES names no dataset for machines; make test-long runs this on a host that systemd runs")
	}
	const name = "contract"
	if err := os.MkdirAll("/run/systemd/nspawn", 0o755); err != nil {
		t.Fatal(err)
	}
	settings := "/run/systemd/nspawn/" + name + ".nspawn"
	if err := os.WriteFile(settings, []byte("[Exec]\nPrivateUsers=no\n[Network]\nPrivate=yes\nVirtualEthernet=no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(settings) })
	disk := guesttest.NewDatasets(t, top, archive, os.Getenv("BEADM_MACHINES_DISK"), os.Getenv("BEADM_INTRUDER"))
	guesttest.Run(t, guesttest.Scene{Runtime: New(Config{Dir: DefaultDir, LogDir: t.TempDir(), Systemd: true}), Guest: name, Root: filepath.Join(disk.Top, name), Disk: disk})
}
