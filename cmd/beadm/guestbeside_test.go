//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A good guest that runs goes through every batch beside hostile ones: one whose
// directories have more entries than fit a screen, or with BEADM_LONG 200000, and one whose root leads to the host's files.
func TestGoodGuestBesideHostileOnes(t *testing.T) {
	h := newGuests(t, "gs", 3)
	const good, many, links = "gs01", "gs02", "gs03"
	h.up()
	h.run("guest", "init", "gs*")
	outside := filepath.Join(t.TempDir(), "host")
	write(t, outside, secret)
	lead := func(paths ...string) {
		for i, path := range paths {
			at := filepath.Join(h.root(links), path)
			check(t, os.RemoveAll(at))
			check(t, os.Symlink([]string{outside, strings.Repeat("../", 24) + outside[1:]}[i%2], at))
		}
	}
	// step runs a batch, of which the good guest must come out well.
	step := func(argv ...string) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		var most atomic.Int64
		watched := make(chan struct{})
		go func() { defer close(watched); most.Store(memoryOf(ctx, h.beadm)) }()
		began := time.Now()
		r := start(t, h.command(append([]string{"--config", h.conf, "--json", "-g", "gs*"}, argv...)...))
		t.Logf("%q: exit %d, %.1f s", argv, r.code, time.Since(began).Seconds())
		cancel()
		<-watched
		if most.Load() > hugest {
			t.Errorf("%q took %d MiB of memory", argv, most.Load()>>20)
		}
		said := (&guestHost{machine: &machine{t: t}}).outcomes(r)
		if why, was := said[good]; why != "" || !was {
			t.Fatalf("%q: the good guest did not come through: %v", argv, r)
		}
		if strings.Contains(r.out+r.err, secret) {
			t.Errorf("what the host keeps was printed: %v", r)
		}
		if read(t, outside) != secret {
			t.Fatalf("%q wrote to the host", argv)
		}
		h.healthy(good)
	}
	check(t, os.Mkdir(filepath.Join(h.root(many), "var/spool/many"), 0o755))
	entries := 20_000
	if os.Getenv("BEADM_LONG") != "" {
		entries = 200_000
	}
	for i := range entries {
		check(t, unix.Mknod(filepath.Join(h.root(many), "var/spool/many", strconv.Itoa(i)), unix.S_IFREG|0o644, 0))
	}
	lead("var/spool", "var/mail", "etc/cron.d")
	step("share", "init", "--stop-all")
	if _, err := os.Stat(filepath.Join(h.share(many), "spool/many", strconv.Itoa(entries-1))); err != nil {
		t.Error(err)
	}
	h.nothingLost(good)
	lead("etc/shadow", "etc/fstab", "etc/hostname", "etc/localtime", "etc/mailname")
	step("create", "new")
	step("upgrade", "new", "--", "sh", "-c", "echo patched >/etc/motd")
	step("sync", "status", "--to", "new")
	step("activate", "--leave-behind", "new")
	if got := h.file(good, "etc/motd"); got != "patched\n" {
		t.Errorf("the good guest runs without the patch: %q", got)
	}
	h.nothingLost(good)
	step("share", "snapshot", "kept")
	step("share", "restore", "kept", "/var/tmp")
	step("rollback")
	h.nothingLost(good)
}
