package activate

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"beadm/activate/guest"
	"beadm/be"
)

// BatchOptions are those of a command for many guests.
type BatchOptions struct {
	Parallel    int                  // switched at a time; at least one
	Canary      map[guest.Guest]bool // Machine.Guest of those that go first; any failure among them, or one that does not run, ends the batch
	MaxFailures int                  // failures after which no other is begun; 0: any number
	// Prepare is called for each while all run, for several at a time; those that
	// it refuses are left out. May be nil.
	Prepare func(context.Context, *Machine) error
	// Begin is called for each by its Switch. May be nil.
	Begin func(context.Context, *Machine) error
}

// preparing is how many guests are made ready at a time: that is the disk's
// work, and nothing is down.
const preparing = 4

// Batch switches guests, the canaries first, then in the order given. Each that
// is begun is ended also when ctx is: then, or after MaxFailures, no other is
// begun, and the armed trials of the rest are taken back, but for those that are
// armed with the host's. progress, if not nil,
// hears of each, from one goroutine at a time. The results are in the order of
// machines.
func Batch(ctx context.Context, machines []*Machine, opts BatchOptions, progress func(Switched)) []Switched {
	results := make([]Switched, len(machines))
	var mu sync.Mutex
	said := func(i int, r Switched) {
		mu.Lock()
		defer mu.Unlock()
		results[i] = r
		if progress != nil {
			progress(r)
		}
	}
	ready := make([]bool, len(machines))
	failures, over := 0, ""
	each(preparing, indices(machines, nil), func(i int) {
		// Their trials may be armed already: interrupted, they are taken back below.
		if opts.Prepare == nil || ctx.Err() != nil {
			ready[i] = true
			return
		}
		err := opts.Prepare(ctx, machines[i])
		ready[i] = err == nil
		if err == nil {
			return
		}
		said(i, Switched{Guest: machines[i].Guest.Name, Outcome: Refused, Why: err.Error(), err: err})
		if opts.Canary[machines[i].Guest] {
			mu.Lock()
			defer mu.Unlock()
			over = "the canary " + machines[i].Guest.Name + " was refused"
		}
	})
	wave := func(canaries bool, parallel int) {
		list := indices(machines, func(m *Machine) bool { return opts.Canary[m.Guest] == canaries })
		each(parallel, list, func(i int) {
			if !ready[i] {
				return
			}
			mu.Lock()
			why := over
			if ctx.Err() != nil {
				why = "interrupted"
			}
			mu.Unlock()
			if why != "" {
				r := Switched{Guest: machines[i].Guest.Name, Outcome: NotBegun, Why: why}
				r.err = errors.New(why)
				if opts.Begin == nil {
					if err := machines[i].forgo(ctx); err != nil {
						r.Why += "; its trial may still be armed: " + err.Error()
						r.err = errors.Join(r.err, err)
					}
				}
				said(i, r)
				return
			}
			r := machines[i].Switch(ctx, opts.Begin)
			said(i, r)
			mu.Lock()
			defer mu.Unlock()
			if canaries && r.Outcome == Unwatched {
				over = "the canary " + r.Guest + " does not run, and shows nothing"
			}
			if r.err == nil {
				return
			}
			failures++
			switch {
			case canaries:
				over = "the canary " + r.Guest + " failed"
			case opts.MaxFailures > 0 && failures >= opts.MaxFailures && over == "":
				over = fmt.Sprintf("%d failed", failures)
			}
		})
	}
	wave(true, 1)
	wave(false, max(1, opts.Parallel))
	return results
}

// BatchError is the error of a whole batch, or nil: that of a single guest, that
// of all if nothing was done for any, else that some did not come out of it as
// they should (be.Batch).
func BatchError(ctx context.Context, results []Switched) error {
	var errs []error
	refused := 0
	for _, r := range results {
		if r.err == nil {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %w", r.Guest, r.err))
		if r.Outcome == Refused {
			refused++
		}
	}
	switch {
	case len(errs) == 0:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%d of %d guests were not switched: %w", len(errs), len(results), ctx.Err())
	case refused == len(results):
		return errs[0]
	case len(results) == 1:
		return be.E(be.Batch, "%w", errs[0])
	}
	return be.E(be.Batch, "%d of %d guests did not come to run it, as said above", len(errs), len(results))
}

func indices(machines []*Machine, want func(*Machine) bool) (list []int) {
	for i, m := range machines {
		if want == nil || want(m) {
			list = append(list, i)
		}
	}
	return list
}

// each calls do for each of list, for at most n at a time, in order.
func each(n int, list []int, do func(i int)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, n)
	for _, i := range list {
		slots <- struct{}{}
		all.Add(1)
		go func() {
			defer func() { <-slots; all.Done() }()
			do(i)
		}()
	}
	all.Wait()
}
