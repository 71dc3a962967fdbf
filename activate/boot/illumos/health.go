package illumos

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"beadm/activate/boot/bootenv"
	"beadm/be/state"
)

// LookAround describes the running system, to compare a trial with.
func LookAround(ctx context.Context, run bootenv.Run) state.Baseline {
	s, _ := readServices(ctx, run)
	return state.Baseline{FailedUnits: s.failed, DefaultRoute: hasDefaultRoute(ctx, run), Sshd: s.sshd}
}

// Check makes the default checks of a trial.
func Check(ctx context.Context, run bootenv.Run, base *state.Baseline) []state.CheckState {
	var out []state.CheckState
	add := func(name string, ok bool, detail string) {
		if ok {
			detail = ""
		}
		out = append(out, state.CheckState{Name: name, OK: ok, Detail: detail})
	}
	s, err := readServices(ctx, run)
	if err != nil {
		add("jobs", false, fmt.Sprintf("cannot ask SMF: %v", err))
		return out
	}
	add("jobs", s.starting == 0, fmt.Sprintf("%d services are still starting", s.starting))
	failed := slices.DeleteFunc(s.failed, func(u string) bool { return slices.Contains(base.FailedUnits, u) })
	add("units", len(failed) == 0, "in maintenance or degraded: "+strings.Join(failed, ", "))
	if base.DefaultRoute {
		add("route", hasDefaultRoute(ctx, run), "there is no default route")
	}
	if base.Sshd {
		add("sshd", s.sshd, "svc:/network/ssh:default is not online")
	}
	return out
}

type services struct {
	starting int
	failed   []string
	sshd     bool
}

// readServices reads svcs(1): an asterisk behind a state says that the
// service is on its way to another.
func readServices(ctx context.Context, run bootenv.Run) (services, error) {
	var s services
	out, err := run(ctx, "svcs", "-a", "-H", "-o", "state,fmri")
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 2 {
			return s, fmt.Errorf("svcs says %q", line)
		}
		state, moving := strings.CutSuffix(f[0], "*")
		switch {
		case moving:
			s.starting++
		case state == "maintenance" || state == "degraded":
			s.failed = append(s.failed, f[1])
		case state == "online" && strings.HasPrefix(f[1], "svc:/network/ssh:"):
			s.sshd = true
		}
	}
	return s, nil
}

// hasDefaultRoute asks route(8), which fails where there is none.
func hasDefaultRoute(ctx context.Context, run bootenv.Run) bool {
	for _, family := range []string{"-inet", "-inet6"} {
		if out, err := run(ctx, "route", "-n", "get", family, "default"); err == nil && strings.Contains(out, "interface:") {
			return true
		}
	}
	return false
}
