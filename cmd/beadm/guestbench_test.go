//go:build linux && bench

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate"
	"beadm/activate/guest"
)

// TestBenchGuests measures for how long a guest is down while it is switched,
// beside its own restart, and how long twenty are made ready while they run.
func TestBenchGuests(t *testing.T) {
	file := benchFile(t)
	h := newGuests(t, "gm", 20)
	h.up()
	h.run("guest", "init", "gm*")
	h.run("share", "-g", "gm*", "init", "--stop-all")
	h.up()

	n := 0
	be := func() string { return fmt.Sprintf("new%d", n) }
	ready := measured{
		Name: "create, and activate until the first of 20 guests is stopped: snapshots, pre-sync and trials of all", Pairs: 3, BoundSeconds: 5,
		Baseline: "20 times btrfs subvolume snapshot, then sync -f", BoundRatio: 100,
	}
	ready.pairs(func() { n++ }, func() time.Duration {
		return took(func() {
			for _, name := range h.names {
				sh(t, "btrfs", "-q", "subvolume", "snapshot", h.root(name)+"/.", filepath.Join(h.dir, ".template", name+be()))
			}
			sh(t, "sync", "-f", h.dir)
		})
	}, func() time.Duration {
		leaders := map[int]bool{}
		for _, g := range h.list() {
			leaders[g.Leader] = true
		}
		began := time.Now()
		h.run("-g", "gm*", "create", be())
		cmd := h.command("activate", "-g", "gm*", be(), "--parallel", "4")
		check(t, cmd.Start())
		for gone := false; !gone; time.Sleep(5 * time.Millisecond) {
			for pid := range leaders {
				gone = gone || unix.Kill(pid, 0) == unix.ESRCH
			}
		}
		d := time.Since(began)
		check(t, cmd.Wait())
		h.up()
		return d
	})

	down := measured{
		Name: "down, activate of one guest after the other", Pairs: 19, BoundAdded: 0.3,
		Baseline: "the guest is stopped, started, and waited for until its services run", BoundRatio: 2,
	}
	n++
	h.run("-g", "gm*", "create", be())
	next := -1
	down.pairs(func() { next++ }, func() time.Duration {
		g := h.guest(h.names[next])
		return took(func() {
			check(t, h.nspawn.Stop(context.Background(), g))
			check(t, h.nspawn.Start(context.Background(), g))
			h.healthy(g.Name)
		})
	}, func() time.Duration {
		s := h.switched(0, "activate", "-g", h.names[next], be())[h.names[next]]
		if s.Outcome != activate.Confirmed {
			t.Fatalf("%+v", s)
		}
		return time.Duration(s.Seconds * float64(time.Second))
	})
	addTo(t, file, ready, down)
}

// TestBenchGuestInPlace measures for how long a guest is down while it gets a mail
// server: patched in place, and patched beforehand and switched.
func TestBenchGuestInPlace(t *testing.T) {
	file := benchFile(t)
	h := newGuests(t, "gi", 12)
	h.up()
	h.run("guest", "init", "gi*")
	h.run("share", "-g", "gi*", "init", "--stop-all")
	h.up()
	install := []string{"sh", "-c", "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq /usr/share/demo/*.deb"}
	m := measured{
		Name: "down, activate of a guest that was upgraded beforehand", Pairs: 5, BoundRatio: 1,
		Baseline: "the guest is stopped, the package manager runs in its root, and it is started and waited for until its services run",
	}
	n := -2
	m.pairs(func() {
		n += 2
		h.run(append([]string{"-g", h.names[n+1], "upgrade", "new", "--"}, install...)...)
	}, func() time.Duration {
		g := h.guest(h.names[n])
		root, err := filepath.EvalSymlinks(h.root(g.Name))
		check(t, err)
		return took(func() {
			check(t, h.nspawn.Stop(context.Background(), g))
			check(t, h.nspawn.Run(context.Background(), g, guest.Command{Root: root, Argv: install}))
			check(t, h.nspawn.Start(context.Background(), g))
			h.healthy(g.Name)
		})
	}, func() time.Duration {
		s := h.switched(0, "activate", "-g", h.names[n+1], "new")[h.names[n+1]]
		if s.Outcome != activate.Confirmed {
			t.Fatalf("%+v", s)
		}
		return time.Duration(s.Seconds * float64(time.Second))
	})
	addTo(t, file, m)
	t.Logf("seconds down per guest, medians of %d pairs\n%s%s", m.Pairs, bar("patched in place", m.BaselineSeconds, m.BaselineSeconds), bar("by beadm", m.Seconds, m.BaselineSeconds))
}

// bar is a line of a picture in which most is 50 wide.
func bar(what string, seconds, most float64) string {
	return fmt.Sprintf("    %-17s %s %.1f\n", what, strings.Repeat("#", max(1, int(50*seconds/most+0.5))), seconds)
}
