package activate

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be/state"
)

// askTime is the longest that systemd may take to answer.
const askTime = 30 * time.Second

// runChecks makes the default checks and those of beadm.conf. The defaults
// compare with the outgoing boot environment: what was broken there does not
// fail a trial.
func (t *Target) runChecks(ctx context.Context, base *state.Baseline) []state.CheckState {
	now := time.Now().UTC()
	var out []state.CheckState
	add := func(name string, ok bool, detail string) {
		if ok {
			detail = ""
		}
		out = append(out, state.CheckState{Name: name, OK: ok, Detail: detail, At: now})
	}
	if base != nil {
		jobs, err := systemctl(ctx, "list-jobs", "--no-legend", "--plain")
		add(checkJobs, err == nil && len(jobs) == 0, problem(err, "%d jobs still queued", len(jobs)))
		failed, ferr := failedUnits(ctx)
		failed = slices.DeleteFunc(failed, func(u string) bool { return slices.Contains(base.FailedUnits, u) })
		add("units", ferr == nil && len(failed) == 0, problem(ferr, "failed: %s", strings.Join(failed, ", ")))
		// Less than a trial has to be bad to fail: one restart is none yet.
		loops, rerr := restarting(ctx, min(t.Conf.Hold, time.Minute)/2)
		loops = slices.DeleteFunc(loops, func(u string) bool {
			return slices.Contains(base.Restarting, u) || slices.Contains(base.FailedUnits, u)
		})
		add("restarts", rerr == nil && len(loops) == 0, problem(rerr, "restarted again and again: %s", strings.Join(loops, ", ")))
		complete, berr := t.bootComplete(ctx, err == nil && len(jobs) == 0)
		add("boot-complete", berr == nil && complete == "", problem(berr, "boot-complete.target is %s: see systemctl list-dependencies boot-complete.target", complete))
		if base.DefaultRoute {
			add("route", hasDefaultRoute(), "there is no default route")
		}
		if base.Sshd {
			add("sshd", sshdListens(), "sshd does not listen")
		}
		if base.Share {
			add("share", isMountPoint(filepath.Join(t.Root, "var/share")) && writable(filepath.Join(t.Root, "var/share")), "/var/share is not mounted read-write")
		}
	}
	for _, command := range t.Conf.Checks {
		words, err := runCheck(ctx, command, t.Conf.CheckTimeout)
		add(command, err == nil, problem(err, "%s", lastLine(words)))
	}
	return out
}

// bootComplete says what boot-complete.target is, which units that check a
// system's health are ordered before (systemd.special(7)); empty: it has been
// reached, or is not known here. It is started once, when nothing else is
// queued: starting it again would have the user's units run again and again.
func (t *Target) bootComplete(ctx context.Context, quiet bool) (string, error) {
	const target = "boot-complete.target"
	look := func() (lines []string, done bool, err error) {
		lines, err = systemctl(ctx, "show", target, "--property=LoadState,ActiveState")
		return lines, err != nil || !slices.Contains(lines, "LoadState=loaded") || slices.Contains(lines, "ActiveState=active"), err
	}
	lines, done, err := look()
	if done {
		return "", err
	}
	if quiet && !t.completing {
		t.completing = true
		if _, err := systemctl(ctx, "start", "--no-block", target); err != nil {
			return "", err
		}
		time.Sleep(time.Second)
		if lines, done, err = look(); done {
			return "", err
		}
	}
	for _, l := range lines {
		if state, ok := strings.CutPrefix(l, "ActiveState="); ok {
			return state, nil
		}
	}
	return "in no state", nil
}

// lookAround describes the running system, to compare a trial with.
func lookAround(ctx context.Context) state.Baseline {
	failed, _ := failedUnits(ctx)
	loops, _ := restarting(ctx, time.Hour)
	return state.Baseline{FailedUnits: failed, Restarting: loops, DefaultRoute: hasDefaultRoute(), Sshd: sshdListens()}
}

func failedUnits(ctx context.Context) ([]string, error) {
	lines, err := systemctl(ctx, "list-units", "--state=failed", "--no-legend", "--plain", "--full")
	var units []string
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 0 {
			units = append(units, f[0])
		}
	}
	return units, err
}

// restarting are the services that systemd started again by itself (Restart=)
// within the last while, or is about to: one that dies at every start has
// nothing failed and no job queued as long as no limit stops it
// (systemd.service(5)).
func restarting(ctx context.Context, while time.Duration) ([]string, error) {
	lines, err := systemctl(ctx, "show", "*.service", "--property=Id,NRestarts,SubState,StateChangeTimestampMonotonic")
	if err != nil {
		return nil, err
	}
	return readRestarting(lines, sinceStart()-while), nil
}

// readRestarting takes what systemctl show says, a property a line and those
// of a unit together; after is the time, on the unit's clock, of the last
// change that is too old to count.
func readRestarting(lines []string, after time.Duration) []string {
	var units []string
	unit := map[string]string{}
	end := func() {
		changed, _ := strconv.ParseInt(unit["StateChangeTimestampMonotonic"], 10, 64)
		restarted := unit["NRestarts"] != "" && unit["NRestarts"] != "0" && time.Duration(changed)*time.Microsecond > after
		if unit["Id"] != "" && (restarted || unit["SubState"] == "auto-restart") {
			units = append(units, unit["Id"])
		}
		unit = map[string]string{}
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		if _, again := unit[name]; again {
			end()
		}
		unit[name] = value
	}
	end()
	slices.Sort(units)
	return units
}

func systemctl(ctx context.Context, args ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot ask systemd: %w", err)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && line != "No jobs running." {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// hasDefaultRoute reads proc(5)'s route tables.
func hasDefaultRoute() bool {
	v4, _ := os.ReadFile("/proc/net/route")
	for line := range strings.Lines(string(v4)) {
		if f := strings.Fields(line); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			return true
		}
	}
	v6, _ := os.ReadFile("/proc/net/ipv6_route")
	for line := range strings.Lines(string(v6)) {
		f := strings.Fields(line)
		// The kernel lists an unreachable default on lo where there is none.
		if len(f) > 9 && strings.Trim(f[0], "0") == "" && f[1] == "00" && f[9] != "lo" {
			return true
		}
	}
	return false
}

// sshdListens looks for a listening TCP socket that a process named sshd, or
// systemd for ssh.socket, holds at port 22, or sshd at any port.
func sshdListens() bool {
	listening := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, _ := os.ReadFile(table)
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" {
				continue
			}
			if strings.HasSuffix(f[1], ":0016") {
				return true
			}
			listening["socket:["+f[9]+"]"] = true
		}
	}
	comms, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, comm := range comms {
		if name, _ := os.ReadFile(comm); string(bytes.TrimSpace(name)) != "sshd" {
			continue
		}
		fds, _ := filepath.Glob(filepath.Join(filepath.Dir(comm), "fd/*"))
		for _, fd := range fds {
			if link, _ := os.Readlink(fd); listening[link] {
				return true
			}
		}
	}
	return false
}

// sinceStart is the clock of systemd's timestamps (CLOCK_MONOTONIC).
func sinceStart() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// sinceBoot is the time since the system started, sleep included
// (clock_gettime(2), CLOCK_BOOTTIME).
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
