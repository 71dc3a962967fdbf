//go:build linux && bench

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// measured is a line of what make bench prints. Seconds and ratio are medians
// of the pairs; a ratio is of the two halves of one pair, which ran one after
// the other.
type measured struct {
	Name            string     `json:"name"`
	Baseline        string     `json:"baseline"`
	Pairs           int        `json:"pairs"`
	Seconds         float64    `json:"seconds"`
	BestSeconds     float64    `json:"best_seconds"`
	BoundSeconds    float64    `json:"bound_seconds,omitempty"` // of the best: the machine may have other work
	BaselineSeconds float64    `json:"baseline_seconds"`
	Ratio           float64    `json:"ratio"`
	RatioSpread     [2]float64 `json:"ratio_spread"` // the smallest and the largest
	BoundRatio      float64    `json:"bound_ratio"`
	AddedSeconds    float64    `json:"added_seconds"` // the median of the differences
	BoundAdded      float64    `json:"bound_added_seconds,omitempty"`
	OK              bool       `json:"ok"`
}

// pairs measures the baseline and ours in turn; the first pair is not counted.
func (m *measured) pairs(prepare func(), baseline, ours func() time.Duration) {
	var a, b, ratios, added []float64
	for i := range m.Pairs + 1 {
		prepare()
		was, is := baseline().Seconds(), ours().Seconds()
		if i > 0 {
			a, b, ratios, added = append(a, is), append(b, was), append(ratios, is/was), append(added, is-was)
		}
	}
	for _, list := range [][]float64{a, b, ratios, added} {
		slices.Sort(list)
	}
	m.Seconds, m.BestSeconds, m.BaselineSeconds = a[len(a)/2], a[0], b[len(b)/2]
	m.Ratio, m.RatioSpread = ratios[len(ratios)/2], [2]float64{ratios[0], ratios[len(ratios)-1]}
	m.AddedSeconds = added[len(added)/2]
	m.OK = m.Ratio <= m.BoundRatio && (m.BoundAdded == 0 || m.AddedSeconds <= m.BoundAdded) && (m.BoundSeconds == 0 || m.BestSeconds <= m.BoundSeconds)
}

func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// best is the shortest time of n runs: other work makes none shorter.
func best(n int, f func()) func() time.Duration {
	return func() time.Duration {
		shortest := took(f)
		for range n - 1 {
			shortest = min(shortest, took(f))
		}
		return shortest
	}
}

// TestBenchStart: what every command takes before it does anything.
func TestBenchStart(t *testing.T) {
	file := benchFile(t)
	beadm := program(t)
	start := measured{
		Name: "beadm version, the best of 9", Pairs: 15, BoundSeconds: 0.010,
		Baseline: "true(1), the best of 9", BoundRatio: 20,
	}
	start.pairs(func() {}, best(9, func() { sh(t, "true") }), best(9, func() { sh(t, beadm, "version") }))
	addTo(t, file, start)
}

// TestBench measures what users wait for, beside what a script would have to
// do at least, and adds it to the file that BEADM_BENCH names, a line each.
func TestBench(t *testing.T) {
	file := benchFile(t)
	m := bareMachine(t, 4<<30)
	fill(m)
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	m.ok("share", "init")
	m.ok("create", "new")
	sh(t, "sync")

	idle := measured{
		Name: "boot with nothing to do, the best of 7", Pairs: 15, BoundSeconds: 0.020,
		Baseline: "mount and umount of the state file system, the best of 7", BoundRatio: 8,
	}
	dir := t.TempDir()
	idle.pairs(func() {}, best(7, func() {
		sh(t, "mount", "-o", "subvol=@beadm", m.device, dir)
		sh(t, "umount", dir)
	}), best(7, func() { sh(t, m.beadm, "--root", m.root, "boot") }))

	cycle := measured{
		Name: "activate and the first boot, with 1 GiB of mail, 10,000 spool files and the default synclist", Pairs: 9, BoundSeconds: 2,
		Baseline: "a script: snapshots of the root and the shared data, cp -a of the files into the new one, sync -f twice", BoundRatio: 25,
	}
	n := 0
	cycle.pairs(func() {
		if n++; n > 1 {
			m.comeUp()
			m.ok("status", "--acknowledge")
		}
		// Something is to be carried, and the shared data is alive.
		m.setPassword("alice", fmt.Sprintf("!%d", n))
		for i := range 100 {
			write(t, filepath.Join(m.root, "var/spool/q", fmt.Sprint(i%10), fmt.Sprintf("new-%d-%d", n, i)), "job\n")
		}
		sh(t, "sync", "-f", m.root)
	}, func() time.Duration { return took(func() { byHand(m) }) }, func() time.Duration {
		d := took(func() { sh(t, m.beadm, "--root", m.root, "activate", "new") })
		m.loads()
		return d + took(func() { sh(t, m.beadm, "--root", m.root, "boot") })
	})

	addTo(t, file, idle, cycle)
}

// addTo adds what was measured to the file that BEADM_BENCH names.
func addTo(t *testing.T, file string, list ...measured) {
	t.Helper()
	to, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	check(t, err)
	defer to.Close()
	for _, r := range list {
		check(t, json.NewEncoder(to).Encode(r))
		if !r.OK {
			t.Errorf("%s: a bound is passed", r.Name)
		}
	}
}

func benchFile(t *testing.T) string {
	t.Helper()
	file := os.Getenv("BEADM_BENCH")
	if file == "" {
		t.Fatal("BEADM_BENCH names no file: call make bench")
	}
	needBtrfs(t)
	return file
}

// fill gives the machine its mail and spool, and a root of some size.
func fill(m *machine) {
	mail := []byte(strings.Repeat("From alice Sat Nov 21 12:00:00 2026\nSubject: hello\n\nThis is a mail.\n\n", 1<<24/71))
	for i := range 64 {
		path := filepath.Join(m.root, "var/mail", fmt.Sprintf("user%d", i))
		check(m.t, os.WriteFile(path, mail, 0o660))
	}
	for i := range 10000 {
		write(m.t, filepath.Join(m.root, "var/spool/q", fmt.Sprint(i/1000), fmt.Sprint(i)), "job\n")
	}
	for i := range 20000 {
		write(m.t, filepath.Join(m.root, "usr/share", fmt.Sprint(i/100), fmt.Sprint(i)), "file of a package\n")
	}
	for _, name := range []string{"rsa", "ecdsa", "ed25519"} {
		write(m.t, filepath.Join(m.root, "etc/ssh/ssh_host_"+name+"_key"), "key\n")
		write(m.t, filepath.Join(m.root, "etc/ssh/ssh_host_"+name+"_key.pub"), "key\n")
	}
	for i := range 50 {
		write(m.t, filepath.Join(m.root, "etc/sudoers.d", fmt.Sprintf("rule%d", i)), "alice ALL=(ALL) ALL\n")
	}
}

// byHand does, without a look at what changed and without a way back, what an
// administrator's script does: the floor of what the switch has to do.
func byHand(m *machine) {
	m.t.Helper()
	const script = `set -e
snap=$top/hand-root share=$top/hand-share
btrfs -q subvolume snapshot -r "$root" "$snap"
mount -o subvol=@be-new "$device" "$dir"
cd "$snap/etc" && cp -a --parents passwd shadow group gshadow hostname ssh sudoers.d "$dir/root" && cd /
sync -f "$dir"
umount "$dir"
btrfs -q subvolume delete "$snap"
btrfs -q subvolume snapshot -r "$root/var/share" "$share"
sync -f "$root"
btrfs -q subvolume delete "$share"`
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "top="+m.top, "root="+m.root, "device="+m.device, "dir="+m.t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("by hand: %v: %s", err, out)
	}
}
