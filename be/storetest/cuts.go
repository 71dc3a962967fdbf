package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
)

// operation is one that changes the store, for those who fail or cut it.
type operation struct {
	name  string
	setup func(t *testing.T, e *Env) // makes what run needs
	run   func(s be.Store, e *Env) error
	// done says whether the store is as run leaves it.
	done func(t *testing.T, e *Env, s be.Store) bool
}

func operations() []operation {
	has := func(name string) func(*testing.T, *Env, be.Store) bool {
		return func(t *testing.T, e *Env, s be.Store) bool {
			b, ok := find(t, s, name)
			return ok && !b.Incomplete
		}
	}
	return []operation{
		{
			name: "Create",
			run: func(s be.Store, e *Env) error {
				_, err := s.Create(bg(), be.CreateOptions{Name: "new", UUID: be.NewUUID(), From: e.Running, AutoSnapshot: "auto-new", Description: "text"})
				return err
			},
			done: has("new"),
		},
		{
			name: "CreateEmpty",
			run: func(s be.Store, e *Env) error {
				_, err := s.Create(bg(), be.CreateOptions{Name: "new", UUID: be.NewUUID()})
				return err
			},
			done: has("new"),
		},
		{
			name: "CreateFilled",
			run: func(s be.Store, e *Env) error {
				filler, ok := s.(be.Filler)
				if !ok {
					_, err := s.Create(bg(), be.CreateOptions{Name: "new", UUID: be.NewUUID()})
					return err
				}
				_, err := filler.CreateFilled(bg(), be.CreateOptions{Name: "new", UUID: be.NewUUID()}, func(_ context.Context, f be.Filling) error {
					for _, p := range e.places() {
						dir, name := filepath.Split(filepath.Join(f.Dir, p))
						if err := os.MkdirAll(dir, 0o755); err != nil {
							return err
						}
						if p != "" && f.Part != nil {
							parent, err := os.Open(dir)
							if err != nil {
								return err
							}
							defer parent.Close()
							if err := f.Part(parent, name); err != nil {
								return err
							}
						} else if err := os.MkdirAll(filepath.Join(f.Dir, p), 0o755); err != nil {
							return err
						}
						if err := os.WriteFile(filepath.Join(f.Dir, p, "content"), []byte("text "+p), 0o640); err != nil {
							return err
						}
					}
					return nil
				})
				return err
			},
			done: has("new"),
		},
		{
			name:  "Rename",
			setup: func(t *testing.T, e *Env) { create(t, e.store, "one", e.Running) },
			run:   func(s be.Store, e *Env) error { return s.Rename(bg(), "one", "new") },
			done:  has("new"),
		},
		{
			name:  "Describe",
			setup: func(t *testing.T, e *Env) { create(t, e.store, "one", e.Running) },
			run:   func(s be.Store, e *Env) error { return s.Describe(bg(), "one", "text") },
			done: func(t *testing.T, e *Env, s be.Store) bool {
				return get(t, s, "one").Description == "text"
			},
		},
		{
			name: "Snapshot",
			run: func(s be.Store, e *Env) error {
				if !s.Caps().Snapshots {
					return nil
				}
				_, err := s.Snapshot(bg(), e.Running, "snap")
				return err
			},
			done: func(t *testing.T, e *Env, s be.Store) bool {
				return !s.Caps().Snapshots || len(snapshots(t, s, e.Running)) > 0
			},
		},
		{
			name: "CreateVolume",
			run:  func(s be.Store, e *Env) error { return s.CreateVolume(bg(), be.StateVolume) },
			done: func(t *testing.T, e *Env, s be.Store) bool {
				there, err := s.VolumeExists(bg(), be.StateVolume)
				must(t, "VolumeExists", err)
				return there
			},
		},
	}
}

// clear takes the store back to the running boot environment alone, with the
// means of a user, and so checks that they suffice.
func (e *Env) clear(t *testing.T) {
	t.Helper()
	s := e.Open(t)
	defer closeStore(s)
	list, err := s.List(bg())
	must(t, "List", err)
	for _, b := range list {
		if !b.Running {
			_, err := s.Destroy(bg(), b.Name, false)
			must(t, "Destroy "+b.Name, err)
		}
	}
	must(t, "DestroyVolume", s.DestroyVolume(bg(), be.StateVolume))
	if s.Caps().Snapshots {
		for _, sn := range snapshots(t, s, e.Running) {
			must(t, "DestroySnapshot "+sn.Name, s.DestroySnapshot(bg(), e.Running, sn.Name))
		}
	}
	if got := names(t, s); len(got) != 1 || got[0] != e.Running {
		t.Fatalf("not clear: %v", got)
	}
}

// stride says which places of an operation are failed or cut: all, or with
// -short, where each command takes seconds, one in so many from a random one
// on, so that many runs meet them all. An odd number meets both sides of
// effects.
func stride(t *testing.T, short int) (first, step int) {
	if !testing.Short() {
		return 1, 1
	}
	first = 1 + rand.IntN(short)
	t.Logf("places %d, %d, …", first, first+short)
	return first, short
}

var errInjected = errors.New("injected failure")

// testFailures has every effect of every operation fail, one at a time: the
// operation says so and has undone what it did.
func testFailures(t *testing.T, e *Env) {
	if e.Intercept == nil {
		t.Skip("this store has no seam to fail at")
	}
	_, err := e.store.Adopt(bg(), e.Running)
	must(t, "Adopt", err)
	e.fill(t, e.Root, "text")
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			for n, step := stride(t, 4); ; n += step {
				e.clear(t)
				if op.setup != nil {
					op.setup(t, e)
				}
				was := state(t, e.store)
				table := e.mountTable(t)
				s := e.Open(t)
				defer closeStore(s)
				count, at := 0, ""
				e.Intercept(s, func(when, what string) error {
					if when != "before" {
						return nil
					}
					if count++; count == n {
						at = what
						return errInjected
					}
					return nil
				})
				err := op.run(s, e)
				e.Intercept(s, nil)
				if count < n {
					must(t, op.name, err)
					if !op.done(t, e, s) {
						t.Errorf("%s said it worked, but did not", op.name)
					}
					t.Logf("%d effects", count)
					break
				}
				if err == nil {
					// A clean-up that failed may be put up with, if it is all
					// there.
					if !op.done(t, e, e.Open(t)) {
						t.Errorf("effect %d (%s) failed, %s said nothing", n, at, op.name)
					}
					continue
				}
				if !strings.Contains(err.Error(), "injected") || !strings.HasPrefix(err.Error(), "cannot ") {
					t.Errorf("effect %d (%s) failed, the error is: %v", n, at, err)
				}
				if now := state(t, e.Open(t)); now != was {
					t.Errorf("effect %d (%s) failed, left is\n%swas\n%s", n, at, now, was)
				}
				if left := more(e.mountTable(t), table); len(left) > 0 {
					t.Errorf("effect %d (%s) failed, left mounted: %v", n, at, left)
				}
			}
		})
	}
	e.clear(t)
	e.wantFilled(t, e.Root, "text")
}

// closeStore closes a store of which a test opens many.
func closeStore(s be.Store) {
	if c, ok := s.(io.Closer); ok {
		c.Close()
	}
}

// cut ends an operation as a power cut does: nothing after it runs.
type cut struct{ where string }

// testCuts ends every operation, Destroy too, before and after each of its
// effects: what is left is the old state, the new one, or a boot environment
// that lists as Incomplete and that Destroy removes.
func testCuts(t *testing.T, e *Env) {
	if e.Intercept == nil {
		t.Skip("this store has no seam to cut at")
	}
	_, err := e.store.Adopt(bg(), e.Running)
	must(t, "Adopt", err)
	e.fill(t, e.Root, "text")
	ops := append(operations(), operation{
		name: "Destroy",
		setup: func(t *testing.T, e *Env) {
			create(t, e.store, "new", e.Running)
			create(t, e.store, "clone", "new")
			if e.store.Caps().Snapshots {
				_, err := e.store.Snapshot(bg(), "new", "s1")
				must(t, "Snapshot", err)
			}
		},
		run: func(s be.Store, e *Env) error {
			_, err := s.Destroy(bg(), "new", false)
			return err
		},
		done: func(t *testing.T, e *Env, s be.Store) bool {
			_, ok := find(t, s, "new")
			return !ok
		},
	})
	for _, op := range ops {
		t.Run(op.name, func(t *testing.T) {
			for n, step := stride(t, 13); ; n += step {
				e.clear(t)
				if op.setup != nil {
					op.setup(t, e)
				}
				where := e.cutAt(t, op, n)
				if where == "" {
					break
				}
				e.checkAfterCut(t, op, where)
			}
		})
	}
	e.clear(t)
	e.wantFilled(t, e.Root, "text")
}

// cutAt runs op and cuts it at the nth call of the seam. It returns where
// that was, or nothing if op ended before.
func (e *Env) cutAt(t *testing.T, op operation, n int) (where string) {
	t.Helper()
	s := e.Open(t)
	defer closeStore(s)
	defer func() {
		e.Intercept(s, nil)
		switch v := recover().(type) {
		case nil:
		case cut:
			where = v.where
		default:
			panic(v)
		}
	}()
	count := 0
	e.Intercept(s, func(when, what string) error {
		if count++; count >= n {
			panic(cut{fmt.Sprintf("%s effect %d (%s)", when, (n+1)/2, what)})
		}
		return nil
	})
	must(t, op.name, op.run(s, e))
	t.Logf("%d effects", count/2)
	return ""
}

func (e *Env) checkAfterCut(t *testing.T, op operation, where string) {
	t.Helper()
	s := e.Open(t)
	defer closeStore(s)
	list, err := s.List(bg())
	must(t, "List after a cut "+where, err)
	for _, b := range list {
		if b.Incomplete {
			for what, err := range map[string]error{
				"Mount":    s.Mount(bg(), b.Name, t.TempDir(), true),
				"Rename":   s.Rename(bg(), b.Name, "other"),
				"Describe": s.Describe(bg(), b.Name, "text"),
			} {
				wantKind(t, fmt.Sprintf("cut %s: %s of the incomplete %s", where, what, b.Name), err, be.InUse)
			}
			continue
		}
		if b.Running {
			continue
		}
		// Whatever is not called incomplete is whole.
		if _, fills := s.(be.Filler); (op.name == "CreateEmpty" || op.name == "CreateFilled" && !fills) && b.Name == "new" {
			continue
		}
		if b.UUID == "" {
			t.Errorf("cut %s: %s is called whole and has no UUID", where, b.Name)
		}
		with(t, s, b.Name, true, func(dir string) { e.wantFilled(t, dir, "text") })
	}
	// The user tries again, and gets there.
	if b, ok := find(t, s, "new"); ok && b.Incomplete {
		_, err := s.Destroy(bg(), "new", false)
		must(t, "cut "+where+": Destroy of the incomplete one", err)
	}
	if !op.done(t, e, s) {
		must(t, "cut "+where+": "+op.name+" again", op.run(s, e))
		if !op.done(t, e, s) {
			t.Errorf("cut %s: %s again said it worked, but did not", where, op.name)
		}
	}
	if op.name == "Destroy" {
		with(t, s, "clone", true, func(dir string) { e.wantFilled(t, dir, "text") })
	}
	// Nothing is left of the automatic snapshots once the clones are gone.
	for _, b := range []string{"new", "one", "clone"} {
		if _, ok := find(t, s, b); ok {
			_, err := s.Destroy(bg(), b, false)
			must(t, "cut "+where+": Destroy "+b, err)
		}
	}
	if s.Caps().Snapshots && op.name != "Snapshot" && len(snapshots(t, s, e.Running)) > 0 {
		b, err := s.Create(bg(), be.CreateOptions{Name: "last", UUID: be.NewUUID(), From: e.Running, AutoSnapshot: "auto-last"})
		must(t, "Create", err)
		_, err = s.Destroy(bg(), b.Name, false)
		must(t, "Destroy", err)
		if list := snapshots(t, s, e.Running); len(list) > 0 {
			t.Errorf("cut %s: automatic snapshots are left for ever: %+v", where, list)
		}
	}
	for _, p := range e.places() {
		wantFile(t, filepath.Join(e.Root, p, "content"), "text "+p)
	}
}
