//go:build linux && bench

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestBenchSync measures sync run over 10,000 files beside rsync, which keeps
// no record, merges nothing and asks nobody.
func TestBenchSync(t *testing.T) {
	file := benchFile(t)
	m := bareMachine(t, 4<<30)
	const tree = "srv/many"
	round := 0
	rewrite := func(size int) {
		round++
		text := bytes.Repeat([]byte("setting = 1\n"), size/12)
		for i := range 10000 {
			path := filepath.Join(m.root, tree, fmt.Sprint(i/100), fmt.Sprint(i))
			if round == 1 {
				check(t, os.MkdirAll(filepath.Dir(path), 0o755))
			}
			check(t, os.WriteFile(path, fmt.Appendf(text, "file %d, version %d\n", i, round), 0o644))
		}
		sh(t, "sync", "-f", m.root)
	}
	rewrite(2 << 10)
	time.Sleep(time.Minute) // what was touched just now is read again
	write(t, filepath.Join(m.root, "etc/beadm/synclist"), "/"+tree+"\n")
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	m.ok("create", "new")
	m.ok("sync", "run", "--to", "new")
	// What rsync copies to is as far as the clone is.
	copied := filepath.Join(m.top, "@copied")
	sh(t, "btrfs", "-q", "subvolume", "snapshot", m.root, copied)
	rsync := func(options ...string) {
		sh(t, append(append([]string{"rsync"}, options...), filepath.Join(m.root, tree)+"/", filepath.Join(copied, tree)+"/")...)
	}

	none := measured{
		Name: "sync run -n, 10,000 files, none changed", Pairs: 15,
		Baseline: "rsync -a --dry-run", BoundRatio: 2,
	}
	none.pairs(func() {}, func() time.Duration { return took(func() { rsync("-a", "--dry-run") }) },
		func() time.Duration {
			return took(func() { sh(t, m.beadm, "--root", m.root, "sync", "run", "-n", "--to", "new") })
		})

	all := measured{
		Name: "sync run, 10,000 files of 2 KiB, all changed", Pairs: 9,
		Baseline: "rsync -a, then sync -f", BoundRatio: 1.5,
	}
	all.pairs(func() { rewrite(2 << 10) }, func() time.Duration {
		return took(func() {
			rsync("-a")
			sh(t, "sync", "-f", copied)
		})
	}, func() time.Duration {
		return took(func() { sh(t, m.beadm, "--root", m.root, "sync", "run", "--to", "new") })
	})

	// The bytes of a file are not what memory is for: sixteen times as many
	// take no more of it.
	memory := func(size int) int64 {
		rewrite(size)
		cmd := exec.Command(m.beadm, "--root", m.root, "sync", "run", "--to", "new")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sync run: %v: %s", err, out)
		}
		return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	}
	few, many := memory(2<<10), memory(32<<10)
	t.Logf("memory: %d KiB with 10,000 files of 2 KiB, %d KiB with 32 KiB each", few, many)
	if many > few+few/4 {
		t.Errorf("memory grows with the size of the files: %d KiB, then %d KiB", few, many)
	}
	addTo(t, file, none, all)
}
