package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"beadm/be"
	"beadm/be/state"
)

// world is what a plan of four steps, committed by its third, acts upon.
type world struct{ set [4]bool }

var errCut = errors.New("power cut")

// plan dies at the cut-th effect: before it if even, after it if odd.
func (w *world) plan(cut int) Plan {
	n := 0
	effect := func(f func()) error {
		if n++; n == cut/2+1 && cut%2 == 0 && cut >= 0 {
			panic(errCut)
		}
		f()
		if n == cut/2+1 && cut >= 0 {
			panic(errCut)
		}
		return nil
	}
	p := Plan{Op: "test", Commit: 2}
	for i := range w.set {
		p.Steps = append(p.Steps, Step{
			Name: fmt.Sprint("step ", i),
			Do:   func(context.Context) error { return effect(func() { w.set[i] = true }) },
			Undo: func(context.Context) error { return effect(func() { w.set[i] = false }) },
		})
	}
	p.Committed = func(context.Context) (bool, error) { return w.set[2], nil }
	return p
}

func dir(t *testing.T) *state.Dir {
	d, err := state.Open(t.TempDir(), "s", true)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEveryCutEndsInOldOrNew(t *testing.T) {
	for cut := range 8 {
		d, w := dir(t), &world{}
		func() {
			defer func() {
				if r := recover(); r != errCut {
					t.Fatalf("cut %d: the plan did not die: %v", cut, r)
				}
			}()
			Run(t.Context(), d, w.plan(cut), nil)
		}()
		rec, err := Open(d)
		if err != nil || rec == nil {
			t.Fatalf("cut %d: no journal: %v", cut, err)
		}
		finished, err := Recover(t.Context(), d, rec, w.plan(-1))
		if err != nil {
			t.Fatalf("cut %d: %v", cut, err)
		}
		if finished && w.set != [4]bool{true, true, true, true} || !finished && w.set != [4]bool{} {
			t.Errorf("cut %d: finished %v, left %v", cut, finished, w.set)
		}
		if rec, _ := Open(d); rec != nil {
			t.Errorf("cut %d: the journal is still open", cut)
		}
	}
}

func TestAFailureBeforeTheCommitIsUndone(t *testing.T) {
	d, w := dir(t), &world{}
	p := w.plan(-1)
	p.Steps[1].Do = func(context.Context) error { return errors.New("no room") }
	err := Run(t.Context(), d, p, nil)
	if be.KindOf(err) != be.Undone || !strings.Contains(err.Error(), "no room") || w.set != [4]bool{} {
		t.Errorf("got %v, %v", err, w.set)
	}
}

func TestAFailureAfterTheCommitIsForRecover(t *testing.T) {
	d, w := dir(t), &world{}
	p := w.plan(-1)
	p.Steps[3].Do = func(context.Context) error { return errors.New("no room") }
	if err := Run(t.Context(), d, p, nil); be.KindOf(err) != be.Recovery {
		t.Errorf("got %v", err)
	}
	rec, _ := Open(d)
	if finished, err := Recover(t.Context(), d, rec, w.plan(-1)); err != nil || !finished || !w.set[3] {
		t.Errorf("got %v, %v, %v", finished, err, w.set)
	}
}

func TestCtrlCUndoesAndDoesNotStopTheCleanUp(t *testing.T) {
	d, w := dir(t), &world{}
	ctx, cancel := context.WithCancel(t.Context())
	p := w.plan(-1)
	p.Steps[0].Undo = func(ctx context.Context) error { w.set[0] = false; return ctx.Err() }
	p.Steps[1].Do = func(ctx context.Context) error { cancel(); return ctx.Err() }
	if err := Run(ctx, d, p, nil); !errors.Is(err, context.Canceled) || w.set != [4]bool{} {
		t.Errorf("got %v, %v", err, w.set)
	}
}

// Only the commit step is told that it is, also when it is repeated.
func TestCommitting(t *testing.T) {
	var told []int
	p := Plan{Op: "test", Commit: 1}
	for i := range 3 {
		p.Steps = append(p.Steps, Step{Name: fmt.Sprint(i), Do: func(ctx context.Context) error {
			if Committing(ctx) {
				told = append(told, i)
			}
			return nil
		}})
	}
	d := dir(t)
	if err := Run(t.Context(), d, p, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(t.Context(), d, &Record{Op: "test", Step: 1, Done: true}, p); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(told) != "[1 1]" {
		t.Errorf("told: %v", told)
	}
}

// Whatever of its records a cut left behind what was done: each step began or
// not, ended or not, and the commit's end was written or not.
func TestEveryRecordEndsInOldOrNew(t *testing.T) {
	for step := range 4 {
		for _, did := range []bool{false, true} {
			for _, done := range []bool{false, true} {
				if done && (step != 2 || !did) {
					continue // no other end is written
				}
				d, w := dir(t), &world{}
				for i := range step {
					w.set[i] = true
				}
				w.set[step] = did
				rec := Record{Version: 1, Op: "test", Step: step, Done: done}
				if err := save(d, rec); err != nil {
					t.Fatal(err)
				}
				finished, err := Recover(t.Context(), d, &rec, w.plan(-1))
				if err != nil || finished != (step > 2 || step == 2 && did) {
					t.Errorf("step %d, did %v, done %v: finished %v, %v", step, did, done, finished, err)
				}
				if finished && w.set != [4]bool{true, true, true, true} || !finished && w.set != [4]bool{} {
					t.Errorf("step %d, did %v, done %v: left %v", step, did, done, w.set)
				}
			}
		}
	}
}
