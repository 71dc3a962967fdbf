package jail

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"beadm/activate/guest"
	"beadm/be"
)

// Start returns when the commands that start the jail have ended, which is when
// /etc/rc in it has. What a start that failed has left, Stop ends.
func (r *Runtime) Start(ctx context.Context, g guest.Guest) error {
	e, _, err := r.look(ctx, g)
	if err != nil {
		return err
	}
	if e.Running {
		return be.E(be.InUse, "the jail %s runs already", e.Name)
	}
	if err := r.programs.Order(ctx, e.start); err != nil {
		return be.E(be.KindOf(err), "cannot start the jail %s: %w", e.Name, err)
	}
	// bastille and iocage end well whatever happened.
	now, err := r.running(ctx)
	if err != nil {
		return err
	}
	j, ok := now[e.kernel]
	if !ok {
		return be.E(be.Other, "cannot start the jail %s: %s ended well, and it does not run", e.Name, strings.Join(e.start, " "))
	}
	if !r.same(j.path, e.Root) {
		return be.E(be.Other, "the jail %s was started from %s, not from %s", e.Name, j.path, e.Root)
	}
	return nil
}

// same says whether two names are of one directory. The kernel knows a jail's by
// the one without links.
func (r *Runtime) same(a, b string) bool {
	x, err := filepath.EvalSymlinks(r.files.at(a))
	if err != nil {
		return a == b
	}
	y, err := filepath.EvalSymlinks(r.files.at(b))
	return err == nil && x == y
}

// removeTime is what the kernel has to end a jail's processes in.
const removeTime = 30 * time.Second

// Stop refuses (be.InUse) to stop a jail that others that run depend on: they
// would be stopped too (jail(8), depend), and by nobody started again. One that
// does not stop in time, or not at all by the commands that are there for it, is
// removed without them: its mounts and addresses may be left then.
func (r *Runtime) Stop(ctx context.Context, g guest.Guest) error {
	e, all, err := r.look(ctx, g)
	if err != nil || !e.Running {
		return err
	}
	for _, other := range all {
		if other.Running && other.dependsOn(e) {
			return be.E(be.InUse, "cannot stop the jail %s: %s, which depends on it, would be stopped too: stop that first", e.Name, other.Name)
		}
	}
	orderly := ctx
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		orderly, cancel = context.WithTimeout(ctx, r.stopTime)
		defer cancel()
	}
	stopErr := r.programs.Order(orderly, e.stop)
	if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
		return be.E(be.Other, "cannot stop the jail %s: %w", e.Name, err)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	if gone, err := r.gone(last, e.kernel, e.jids); err != nil || gone {
		return err
	}
	if err := r.remove(last, e.kernel, e.jids); err != nil {
		return be.E(be.KindOf(err), "cannot stop the jail %s: %w", e.Name, errors.Join(stopErr, err))
	}
	return nil
}

func (e entry) dependsOn(on entry) bool {
	if strings.HasPrefix(e.kernel, on.kernel+".") {
		return true
	}
	for _, p := range e.configured.params {
		if p.name == "depend" && slices.Contains(p.values, on.Name) {
			return true
		}
	}
	return false
}

// within are the numbers of a jail and of those in it, such as rc(8) makes for
// services.
func within(all map[string]running, kernel string) (jids []int) {
	for name, j := range all {
		if name == kernel || strings.HasPrefix(name, kernel+".") {
			jids = append(jids, j.jid)
		}
	}
	return jids
}

// gone says whether a jail is not there, and no process of it or of those that
// were in it.
func (r *Runtime) gone(ctx context.Context, kernel string, jids []int) (bool, error) {
	now, err := r.running(ctx)
	if err != nil {
		return false, err
	}
	if len(within(now, kernel)) > 0 {
		return false, nil
	}
	left, err := r.processes(ctx, jids...)
	return err == nil && len(left) == 0, err
}

// remove ends a jail with all in it, whatever its configuration (jail(8), -R),
// and returns when nothing of it is left.
func (r *Runtime) remove(ctx context.Context, kernel string, jids []int) error {
	removeErr := r.programs.Order(ctx, []string{jail, "-q", "-R", kernel})
	for {
		gone, err := r.gone(ctx, kernel, jids)
		if gone {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(removeErr, err, be.E(be.InUse, "it has processes that do not end"))
		case <-time.After(r.poll):
		}
	}
}
