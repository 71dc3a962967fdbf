package storetest

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
)

const mib = 1 << 20

// blob writes what no store makes smaller, over what is there.
func blob(t *testing.T, path string, size int) {
	t.Helper()
	b := make([]byte, size)
	rand.New(rand.NewSource(rand.Int63())).Read(b)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640)
	must(t, "write", err)
	_, err = f.Write(b)
	must(t, "write", err)
	must(t, "close", f.Close())
}

// sub is a subordinate, or a directory where there are none.
func (e *Env) sub() string { return append(e.Subordinates, "sub")[0] }

// crowd is a running boot environment with a, b, cloned from a, and c, with a
// snapshot s1: they share, wrote over what they shared, and have their own in
// every place.
func (e *Env) crowd(t *testing.T) {
	t.Helper()
	sub := e.sub()
	must(t, "mkdir", os.MkdirAll(filepath.Join(e.Root, sub), 0o755))
	blob(t, filepath.Join(e.Root, "base"), 24*mib)
	blob(t, filepath.Join(e.Root, sub, "base"), 8*mib)
	for i := range 500 {
		write(t, filepath.Join(e.Root, fmt.Sprint("small", i)), strings.Repeat("x", 1500))
	}
	create(t, e.store, "a", e.Running)
	with(t, e.store, "a", false, func(dir string) {
		blob(t, filepath.Join(dir, "own"), 10*mib)
		blob(t, filepath.Join(dir, sub, "own"), 12*mib)
	})
	// From here on a and the snapshot that it came from hold the old ones alone.
	blob(t, filepath.Join(e.Root, "base"), 24*mib)
	for i := range 500 {
		must(t, "remove", os.Remove(filepath.Join(e.Root, fmt.Sprint("small", i))))
	}
	create(t, e.store, "b", "a")
	with(t, e.store, "b", false, func(dir string) {
		blob(t, filepath.Join(dir, "more"), 7*mib)
		blob(t, filepath.Join(dir, "own"), 4*mib) // the rest is a's, too
	})
	create(t, e.store, "c", e.Running)
	with(t, e.store, "c", false, func(dir string) {
		blob(t, filepath.Join(dir, "gone"), 9*mib)
		blob(t, filepath.Join(dir, "far"), 5*mib)
		for _, to := range []string{filepath.Join(dir, sub, "copy"), filepath.Join(e.Root, "copy")} {
			if out, err := exec.Command("cp", "--reflink=auto", filepath.Join(dir, "far"), to).CombinedOutput(); err != nil {
				t.Fatalf("cp: %v: %s", err, out)
			}
		}
	})
	_, err := e.store.Snapshot(bg(), "c", "s1")
	must(t, "Snapshot", err)
	with(t, e.store, "c", false, func(dir string) { must(t, "remove", os.Remove(filepath.Join(dir, "gone"))) })
	must(t, "Flush", e.store.Flush(bg()))
}

// settled is what can be written, and what is in use where that is known, once
// all has come back that will.
func (e *Env) settled(t *testing.T) (free, used int64) {
	t.Helper()
	must(t, "Flush", e.store.Flush(bg()))
	if settler, ok := e.store.(be.Settler); ok {
		must(t, "Settle", settler.Settle(bg()))
	}
	free, err := e.store.Free(bg())
	must(t, "Free", err)
	if e.Used != nil {
		used = e.Used(t)
	}
	return free, used
}

// near says whether two numbers of bytes are within 5 % or so many.
func near(a, b, or int64) bool {
	d := max(a-b, b-a)
	return d <= or || d*20 <= b
}

// comesBack destroys and compares what comes back with what Frees said before.
func (e *Env) comesBack(t *testing.T, names ...string) {
	t.Helper()
	freeBefore, usedBefore := e.settled(t)
	said, err := e.Open(t).(be.SetDestroyer).Frees(bg(), names)
	must(t, "Frees", err)
	if said.AtLeast {
		t.Errorf("what %v free is said to be at least %d", names, said.Bytes)
	}
	for _, name := range names {
		if of, snap, is := be.SplitSnapshot(name); is {
			must(t, "DestroySnapshot", e.store.DestroySnapshot(bg(), of, snap))
			continue
		}
		_, err := e.store.Destroy(bg(), name, false)
		must(t, "Destroy", err)
	}
	freeNow, usedNow := e.settled(t)
	t.Logf("%v: said %d, free %+d, used %+d", names, said.Bytes, freeNow-freeBefore, usedNow-usedBefore)
	if !near(said.Bytes, freeNow-freeBefore, 16*mib) {
		t.Errorf("%v was said to free %d, and %d came back", names, said.Bytes, freeNow-freeBefore)
	}
	if e.Used != nil && !near(said.Bytes, usedBefore-usedNow, 2*mib) {
		t.Errorf("%v was said to free %d, and %d less are in use", names, said.Bytes, usedBefore-usedNow)
	}
}

// said fails unless about so many MiB would come back.
func (e *Env) said(t *testing.T, want int64, names ...string) {
	t.Helper()
	got, err := e.store.(be.SetDestroyer).Frees(bg(), names)
	must(t, "Frees", err)
	if got.AtLeast || !near(got.Bytes, want*mib, 2*mib) {
		t.Errorf("%v is said to free %+v, want %d MiB", names, got, want)
	}
}

// testSpace holds a store to be.SetDestroyer, one after another.
func testSpace(t *testing.T, e *Env) {
	if _, ok := e.store.(be.SetDestroyer); !ok {
		return
	}
	e.crowd(t)
	before := state(t, e.store)
	_, err := e.store.(be.SetDestroyer).Frees(bg(), []string{"a", "missing"})
	wantKind(t, "Frees of a missing one", err, be.NotFound)
	_, err = e.store.(be.SetDestroyer).Frees(bg(), []string{"a@missing"})
	wantKind(t, "Frees of a missing snapshot", err, be.NotFound)
	e.said(t, 0)
	// What is named twice counts once; with them go the old base and its snapshot.
	if !e.Apart {
		e.said(t, 10+12+7+4+24+1, "a", "b", "a@auto-b")
	}
	if m, ok := e.store.(be.SpaceMeasurer); ok {
		spaces, err := m.Spaces(bg())
		must(t, "Spaces", err)
		for _, name := range []string{"a", "b", "c"} {
			alone, err := e.store.(be.SetDestroyer).Frees(bg(), []string{name})
			must(t, "Frees", err)
			if !near(spaces[name], alone.Bytes, mib) {
				t.Errorf("%s holds %d, and alone frees %d", name, spaces[name], alone.Bytes)
			}
		}
	}
	if now := state(t, e.store); now != before {
		t.Errorf("asking changed\n%s\nto\n%s", before, now)
	}
	e.comesBack(t, "a") // b was cloned from it
	e.comesBack(t, "c@s1")
	e.comesBack(t, "c")
	e.comesBack(t, "b")
}

// testSpaceOfSets does it with several at once.
func testSpaceOfSets(t *testing.T, e *Env) {
	if _, ok := e.store.(be.SetDestroyer); !ok {
		return
	}
	e.crowd(t)
	create(t, e.store, "d", "b")
	with(t, e.store, "d", false, func(dir string) {
		blob(t, filepath.Join(dir, "own"), 8*mib)
		must(t, "remove", os.Remove(filepath.Join(dir, e.sub(), "own")))
	})
	e.comesBack(t, "a", "b", "c") // d was cloned from b
	create(t, e.store, "f", "d")
	with(t, e.store, "f", false, func(dir string) { must(t, "remove", os.Remove(filepath.Join(dir, "own"))) })
	e.comesBack(t, "f", "d")
}
