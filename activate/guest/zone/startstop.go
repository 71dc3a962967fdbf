package zone

import (
	"context"
	"errors"
	"time"

	"beadm/activate/guest"
	"beadm/be"
)

// Start returns when zoneadm has booted the zone, from the dataset that its brand
// mounts then.
func (r *Runtime) Start(ctx context.Context, g guest.Guest) error {
	e, err := r.look(ctx, g)
	if err != nil {
		return err
	}
	return r.boot(ctx, e)
}

func (r *Runtime) boot(ctx context.Context, e entry, options ...string) error {
	if e.Running {
		return be.E(be.InUse, "the zone %s runs already", e.Name)
	}
	if err := r.programs.Order(ctx, append([]string{zoneadm, "-z", e.Name, "boot"}, options...)); err != nil {
		return be.E(be.KindOf(err), "cannot start the zone %s: %w", e.Name, err)
	}
	now, err := r.look(ctx, e.Guest)
	if err != nil {
		return err
	}
	if now.state != "running" {
		return be.E(be.Other, "cannot start the zone %s: zoneadm ended well, and it is %s", e.Name, now.words())
	}
	return nil
}

// Stop has zoneadm shut the zone down, and halts it if that fails or it is not
// down in time. A zone that the kernel does not have any more has no process.
func (r *Runtime) Stop(ctx context.Context, g guest.Guest) error {
	e, err := r.look(ctx, g)
	if err != nil || !e.Running {
		return err
	}
	orderly := ctx
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		orderly, cancel = context.WithTimeout(ctx, r.stopTime)
		defer cancel()
	}
	stopErr := r.programs.Order(orderly, []string{zoneadm, "-z", e.Name, "shutdown"})
	if stopErr == nil {
		stopErr = r.gone(orderly, e)
	}
	if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
		return be.E(be.Other, "cannot stop the zone %s: %w", e.Name, err)
	}
	if stopErr == nil {
		return nil
	}
	if err := r.halt(ctx, e); err != nil {
		return be.E(be.KindOf(err), "cannot stop the zone %s: %w", e.Name, errors.Join(stopErr, err))
	}
	return nil
}

// halt ends all that is in a zone, and has its own time for it.
func (r *Runtime) halt(ctx context.Context, e entry) error {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.haltTime)
	defer cancel()
	now, err := r.look(last, e.Guest)
	if err != nil || !now.Running {
		return err
	}
	haltErr := r.programs.Order(last, []string{zoneadm, "-z", e.Name, "halt"})
	if err := r.gone(last, e); err != nil {
		return errors.Join(haltErr, err)
	}
	return nil
}

// gone returns nil when the kernel does not have the zone any more, or why that
// could not be seen by the end of ctx.
func (r *Runtime) gone(ctx context.Context, e entry) error {
	var why error = be.E(be.InUse, "it is still %s", e.words())
	for {
		now, err := r.look(ctx, e.Guest)
		switch {
		case err == nil && !now.Running:
			return nil
		case err == nil:
			why = be.E(be.InUse, "it is still %s", now.words())
		case ctx.Err() == nil: // The others are those of a look that was cut short.
			why = err
		}
		select {
		case <-ctx.Done():
			return why
		case <-time.After(r.poll):
		}
	}
}
