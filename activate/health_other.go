//go:build !linux

package activate

import (
	"context"
	"path/filepath"
	"runtime"
	"time"

	"beadm/activate/boot/bootenv"
	"beadm/be/state"
)

// askTime is the longest that the system's own tools may take to answer.
const askTime = 30 * time.Second

// runChecks makes the default checks, as far as there are any for this system,
// and those of beadm.conf.
func (t *Target) runChecks(ctx context.Context, base *state.Baseline) []state.CheckState {
	now := time.Now().UTC()
	var out []state.CheckState
	if sys, ok := systems[runtime.GOOS]; ok && base != nil {
		asking, cancel := context.WithTimeout(ctx, askTime)
		out = append(out, sys.check(asking, bootenv.Exec, base)...)
		cancel()
	}
	if base != nil && base.Share {
		dir := filepath.Join(t.Root, "var/share")
		c := state.CheckState{Name: "share", OK: isMountPoint(dir) && writable(dir)}
		if !c.OK {
			c.Detail = "/var/share is not mounted read-write"
		}
		out = append(out, c)
	}
	for _, command := range t.Conf.Checks {
		words, err := runCheck(ctx, command, t.Conf.CheckTimeout)
		c := state.CheckState{Name: command, OK: err == nil}
		if err != nil {
			c.Detail = problem(err, "%s", lastLine(words))
		}
		out = append(out, c)
	}
	for i := range out {
		out[i].At = now
	}
	return out
}

func lookAround(ctx context.Context) state.Baseline {
	if sys, ok := systems[runtime.GOOS]; ok {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		return sys.look(ctx, bootenv.Exec)
	}
	return state.Baseline{}
}

var started = time.Now()

// sinceBoot counts from the start of the program: boot is the first of them,
// and the dead-man timer is started by it.
func sinceBoot() time.Duration { return time.Since(started) }
