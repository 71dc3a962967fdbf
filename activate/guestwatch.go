package activate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	watchEvery = 50 * time.Millisecond
	checkTime  = 30 * time.Second
)

// watch waits until the guest has been up, with no service failed that had not
// failed before, for the time that the checks must hold. One that is up before it is
// to be has that time behind the end of that, too.
func (m *Machine) watch(ctx context.Context, before []string) (up time.Time, err error) {
	deadline := time.Now().Add(m.Conf.Within)
	var good, bad time.Time
	var why error
	for {
		h, herr := m.Runtime.Health(ctx, m.Guest)
		now := time.Now()
		switch fresh := newlyFailed(h.Failed, before); {
		case herr != nil:
			if g, err := m.now(ctx); err == nil && !g.Running {
				return up, fmt.Errorf("%s ended while it started", m.Guest.Name)
			}
			why, good = herr, time.Time{}
		case !h.Up:
			why, good = errors.New(h.Why), time.Time{}
		case len(fresh) > 0:
			why, good = fmt.Errorf("these services failed: %s", strings.Join(fresh, ", ")), time.Time{}
			if bad.IsZero() {
				bad = now
			}
			if now.Sub(bad) >= m.Conf.Hold {
				return up, why
			}
		default:
			bad = time.Time{}
			if up.IsZero() {
				up = now
			}
			if good.IsZero() {
				good = now
			}
			if now.Sub(good) >= m.Conf.Hold {
				return up, m.check(ctx)
			}
		}
		if good.IsZero() && now.After(deadline) {
			return up, fmt.Errorf("it was not healthy after %s: %w", m.Conf.Within, why)
		}
		select {
		case <-ctx.Done():
			return up, ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

func newlyFailed(failed, before []string) (fresh []string) {
	for _, unit := range failed {
		if !slices.Contains(before, unit) {
			fresh = append(fresh, unit)
		}
	}
	return fresh
}

// check makes the administrator's own checks.
func (m *Machine) check(ctx context.Context) error {
	for _, command := range m.Conf.Checks {
		ctx, cancel := context.WithTimeout(ctx, checkTime)
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
		cmd.Env = append(os.Environ(), "BEADM_GUEST_NAME="+m.Guest.Name, "BEADM_GUEST_ROOT="+m.Place.Root, "BEADM_GUEST_RUNTIME="+m.Runtime.Name())
		cmd.WaitDelay = time.Second
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("the check %q failed: %w: %s", command, err, inBrief(strings.TrimSpace(string(out))))
		}
	}
	return nil
}
