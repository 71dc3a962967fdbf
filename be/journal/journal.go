// Package journal keeps the open operation on disk, so that whatever stops it,
// it is undone or finished and never forgotten.
//
// A Plan is a list of steps with at most one commit step. Before the commit
// every step can be undone; from it on every step can be repeated. Run writes
// durably, before each step and after the commit, how far it came; Recover
// reads that after a crash and asks the plan itself, never only the journal,
// whether the commit happened.
package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/state"
)

// File is the journal's name in the state folder.
const File = "journal.json"

// Step is one effect. Do and Undo may be called again after a crash at any
// point inside them; Undo also when Do never ran. A nil Undo has nothing to
// undo.
type Step struct {
	Name string
	Do   func(context.Context) error
	Undo func(context.Context) error
}

// Plan is what an operation will do. It was made by reading only.
type Plan struct {
	Op   string // the command
	Args any    // what rebuilds this plan in another process; marshalled to JSON
	// Commit is the index of the step after which the operation has happened,
	// or len(Steps)-1 by default if negative.
	Commit int
	Steps  []Step
	// Repeatable: giving the command again does what is left of it. So it goes
	// on without a journal where there is no space for one: what makes room
	// must work there.
	Repeatable bool
	// Committed asks the world whether the commit step's effect is there; nil
	// trusts the journal.
	Committed func(context.Context) (bool, error)
}

// Record is journal.json.
type Record struct {
	Version int             `json:"version"`
	Op      string          `json:"op"`
	Args    json.RawMessage `json:"args"`
	Pid     int             `json:"pid"`
	Started time.Time       `json:"started"`
	Step    int             `json:"step"` // the last one that began; those before it ended
	Done    bool            `json:"done"` // whether that one, if it is the commit, also ended
	Name    string          `json:"name"` // of that step, for people
}

type committing struct{}

// Committing says whether ctx is that of a plan's commit step: what must
// happen nowhere else can ask.
func Committing(ctx context.Context) bool { return ctx.Value(committing{}) != nil }

// do carries out step i of plan.
func do(ctx context.Context, plan Plan, i int) error {
	if i == plan.Commit {
		ctx = context.WithValue(ctx, committing{}, true)
	}
	return plan.Steps[i].Do(ctx)
}

// Undo gets its own time: a clean-up is not stopped by what stopped the work.
const undoTime = 5 * time.Minute

// Run carries the plan out. If a step before the commit fails or ctx ends, the
// steps done are undone in reverse and the error is of kind Undone (or is
// ctx's); if that fails too, or a step after the commit fails, the journal
// stays and the error is of kind Recovery. progress, which may be nil, hears
// of every step before it begins.
func Run(ctx context.Context, dir *state.Dir, plan Plan, progress func(step string)) error {
	if plan.Commit < 0 {
		plan.Commit = len(plan.Steps) - 1
	}
	if len(plan.Steps) == 0 || plan.Commit >= len(plan.Steps) {
		return fmt.Errorf("cannot %s: its plan has no commit step", plan.Op)
	}
	args, err := json.Marshal(plan.Args)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", plan.Op, err)
	}
	rec := Record{Version: 1, Op: plan.Op, Args: args, Pid: os.Getpid(), Started: time.Now().UTC(), Name: plan.Steps[0].Name}
	save := func() error {
		err := save(dir, rec)
		if plan.Repeatable && state.NoSpace(err) {
			return nil
		}
		return err
	}
	if err := save(); err != nil {
		return be.E(be.Undone, "cannot %s: %w; nothing was changed", plan.Op, err)
	}
	for i, step := range plan.Steps {
		err := ctx.Err()
		if i > plan.Commit {
			err = nil // what is committed is finished, not abandoned
		}
		if err == nil && i > 0 {
			rec.Step, rec.Done, rec.Name = i, false, step.Name
			err = save()
		}
		if err == nil {
			if progress != nil {
				progress(step.Name)
			}
			stepCtx := ctx
			if i >= plan.Commit {
				stepCtx = context.WithoutCancel(ctx)
			}
			err = do(stepCtx, plan, i)
		}
		if err != nil {
			return failed(ctx, dir, plan, i, err)
		}
		if i != plan.Commit {
			continue // before it the next one's beginning says so, behind it a cut repeats it
		}
		rec.Done = true
		if err := save(); err != nil {
			return failed(ctx, dir, plan, i, err)
		}
	}
	return Forget(dir)
}

func failed(ctx context.Context, dir *state.Dir, plan Plan, at int, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	committed := at > plan.Commit
	if at == plan.Commit {
		// The commit's own error does not say whether its effect arrived.
		committed = true
		if plan.Committed != nil {
			if is, err := plan.Committed(ctx); err == nil {
				committed = is
			}
		} else {
			committed = false
		}
	}
	if committed {
		return be.E(be.Recovery, "%s is done but could not finish (%s: %w): run beadm recover", plan.Op, plan.Steps[at].Name, cause)
	}
	if err := undo(ctx, plan, at); err != nil {
		return be.E(be.Recovery, "cannot %s (%s: %w), and undoing it failed too: %v: run beadm recover", plan.Op, plan.Steps[at].Name, cause, err)
	}
	if err := Forget(dir); err != nil {
		return err
	}
	if errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s was interrupted, everything undone: %w", plan.Op, context.Canceled)
	}
	var sorted *be.Error
	if errors.As(cause, &sorted) && sorted.Kind != be.Other {
		return be.E(sorted.Kind, "%s%w; nothing was changed", unless(cause, "cannot "+plan.Op+": "), cause)
	}
	return be.E(be.Undone, "%s%w; everything was undone", unless(cause, "cannot "+plan.Op+": "+plan.Steps[at].Name+": "), cause)
}

// unless is the beginning of a sentence, where the cause is none itself.
func unless(cause error, beginning string) string {
	if strings.HasPrefix(cause.Error(), "cannot ") {
		return ""
	}
	return beginning
}

func undo(ctx context.Context, plan Plan, from int) error {
	for i := from; i >= 0; i-- {
		if plan.Steps[i].Undo == nil {
			continue
		}
		if err := plan.Steps[i].Undo(ctx); err != nil {
			return fmt.Errorf("%s: %w", plan.Steps[i].Name, err)
		}
	}
	return nil
}

// Open returns the record of an operation that did not end, or nil.
func Open(dir *state.Dir) (*Record, error) {
	data, err := os.ReadFile(dir.Path(File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	var rec Record
	if err := json.Unmarshal(data, &rec); rec.Version > 1 {
		return nil, be.E(be.Recovery, "the journal %s has format %d, and this beadm reads 1: use the beadm that wrote it", dir.Path(File), rec.Version)
	} else if err != nil {
		return nil, be.E(be.Recovery, "cannot read the journal %s: %w; beadm recover sets it aside", dir.Path(File), err)
	}
	return &rec, nil
}

// Recover undoes rec's operation if its commit did not happen, and finishes
// it otherwise. plan is the plan rebuilt from rec.Args. It may be repeated.
func Recover(ctx context.Context, dir *state.Dir, rec *Record, plan Plan) (finished bool, err error) {
	if plan.Commit < 0 {
		plan.Commit = len(plan.Steps) - 1
	}
	committed := rec.Step > plan.Commit || rec.Step == plan.Commit && rec.Done
	// Before its commit step began an operation has not happened, whatever
	// the world looks like: it may have looked so before.
	if plan.Committed != nil && rec.Step >= plan.Commit {
		if committed, err = plan.Committed(ctx); err != nil {
			return false, be.E(be.Recovery, "cannot tell whether %s happened: %w", rec.Op, err)
		}
	}
	if !committed {
		if err := undo(ctx, plan, min(rec.Step, len(plan.Steps)-1)); err != nil {
			return false, be.E(be.Recovery, "cannot undo %s: %w", rec.Op, err)
		}
		return false, Forget(dir)
	}
	for i := max(rec.Step, plan.Commit); i < len(plan.Steps); i++ {
		if err := do(ctx, plan, i); err != nil {
			return true, be.E(be.Recovery, "cannot finish %s: %s: %w", rec.Op, plan.Steps[i].Name, err)
		}
	}
	return true, Forget(dir)
}

// Forget removes the journal durably.
func Forget(dir *state.Dir) error {
	if err := os.Remove(dir.Path(File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot close the journal: %w", err)
	}
	return state.Sync(dir.Path("."))
}

func save(dir *state.Dir, rec Record) error {
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	return state.WriteFile(dir.Path(File), append(data, '\n'))
}
