//go:build linux && bench

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBenchShare measures how long a directory takes into the shared data,
// beside cp -a, which checks nothing and leaves the directory where it was.
func TestBenchShare(t *testing.T) {
	file := benchFile(t)
	m := bareMachine(t, 24<<30)
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	m.ok("share", "init")
	n := 0
	dir := func() string { return fmt.Sprintf("/var/lib/data%d", n) }
	copied := filepath.Join(m.top, "@copied")
	sh(t, "btrfs", "-q", "subvolume", "create", copied)
	next := func(fill func(dir string)) func() {
		return func() {
			if n++; n > 1 {
				m.ok("share", "commit")
			}
			sh(t, "find", copied, "-mindepth", "1", "-delete")
			fill(filepath.Join(m.root, dir()))
			sh(t, "sync", "-f", m.root)
		}
	}
	byHand := func(reflink string) func() time.Duration {
		return func() time.Duration {
			return took(func() {
				sh(t, "cp", "-a", "--reflink="+reflink, m.root+dir(), copied)
				sh(t, "sync", "-f", copied)
			})
		}
	}
	add := func() time.Duration {
		return took(func() { sh(t, m.beadm, "--root", m.root, "share", "add", dir()) })
	}

	small := measured{
		Name: "share add, 100,000 files of 1 KiB", Pairs: 3,
		Baseline: "cp -a, then sync -f", BoundRatio: 1.2,
	}
	text := []byte(strings.Repeat("mail\n", 1<<10/5))
	small.pairs(next(func(dir string) {
		for i := range 100000 {
			path := filepath.Join(dir, fmt.Sprint(i/1000), fmt.Sprint(i))
			if i%1000 == 0 {
				check(t, os.MkdirAll(filepath.Dir(path), 0o755))
			}
			check(t, os.WriteFile(path, text, 0o644))
		}
	}), byHand("auto"), add)

	large := measured{
		Name: "share add, a file of 4 GiB", Pairs: 3,
		Baseline: "cp -a --reflink=never, then sync -f", BoundRatio: 0.1,
	}
	large.pairs(next(func(dir string) {
		check(t, os.Mkdir(dir, 0o755))
		sh(t, "dd", "if=/dev/urandom", "of="+filepath.Join(dir, "large"), "bs=1M", "count=4096", "status=none")
	}), byHand("never"), add)
	addTo(t, file, small, large)
}
