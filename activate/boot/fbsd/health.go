package fbsd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"beadm/activate/boot/bootenv"
	"beadm/be/state"
)

// LookAround describes the running system, to compare a trial with. rc(8)
// keeps no account of what failed.
func LookAround(ctx context.Context, run bootenv.Run) state.Baseline {
	return state.Baseline{DefaultRoute: hasDefaultRoute(ctx, run), Sshd: sshdListens(ctx, run)}
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
	busy, err := rcRuns(ctx, run)
	detail := "/etc/rc has not ended yet"
	if err != nil {
		detail = fmt.Sprintf("cannot see whether /etc/rc has ended: %v", err)
	}
	add("jobs", err == nil && !busy, detail)
	if base.DefaultRoute {
		add("route", hasDefaultRoute(ctx, run), "there is no default route")
	}
	if base.Sshd {
		add("sshd", sshdListens(ctx, run), "sshd does not listen")
	}
	return out
}

// rcRuns says whether the system is still starting: init(8) runs the script
// /etc/rc autoboot, which its first line makes one of /bin/sh. pgrep(1) ends
// with 1 where there is none.
func rcRuns(ctx context.Context, run bootenv.Run) (bool, error) {
	_, err := run(ctx, "pgrep", "-f", "^/bin/sh /etc/rc( autoboot)?$")
	var tool *bootenv.ToolError
	if errors.As(err, &tool) && tool.Status == 1 {
		return false, nil
	}
	return err == nil, err
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

// sshdListens reads sockstat(1): user, command, process, descriptor, protocol,
// local and foreign address.
func sshdListens(ctx context.Context, run bootenv.Run) bool {
	out, err := run(ctx, "sockstat", "-46l", "-P", "tcp")
	if err != nil {
		return false
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 5 && (f[1] == "sshd" || strings.HasSuffix(f[5], ":22")) {
			return true
		}
	}
	return false
}
