package share

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"sort"
	"strconv"
	"strings"
)

// Systemd is the Units of a system that systemd runs.
type Systemd struct {
	// Run runs a program of the target, and returns its standard output. nil
	// runs it here. For a guest it enters the guest first.
	Run func(ctx context.Context, argv ...string) ([]byte, error)

	// Guest is the control group of a guest ("/machine.slice/…"), below which
	// its units are; empty for this system.
	Guest string
}

func (s Systemd) run(ctx context.Context, argv ...string) ([]byte, error) {
	if s.Run != nil {
		return s.Run(ctx, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%s: %s", strings.Join(argv, " "), strings.TrimSpace(string(exit.Stderr)))
	} else if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return out, err
}

// Of reads the control group: the unified one, or version 1's name=systemd.
func (s Systemd) Of(pid int) (string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", nil // it has ended
	}
	unit := unitOf(string(data), s.Guest)
	if unit != "" {
		// One that somebody made at run time is gone for good once it stops.
		if _, err := os.Lstat("/proc/" + strconv.Itoa(pid) + "/root/run/systemd/transient/" + unit); err == nil {
			return "", nil
		}
	}
	return unit, nil
}

// unitOf finds the service in what /proc/PID/cgroup says. Only services can
// be stopped and started again: a scope's processes are somebody else's, and
// below user@.service or user.slice are people at work.
func unitOf(cgroup, guest string) string {
	var unified, named string
	for _, line := range strings.Split(cgroup, "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		switch {
		case f[1] == "name=systemd":
			named = f[2]
		case f[0] == "0" && f[1] == "":
			unified = f[2]
		}
	}
	at := unified
	if named != "" { // version 1 or hybrid: systemd keeps its own
		at = named
	}
	rest, ok := strings.CutPrefix(at, strings.TrimRight(guest, "/")+"/")
	if !ok {
		return ""
	}
	rest = strings.TrimPrefix(rest, "payload/") // nspawn's
	for _, part := range strings.Split(rest, "/") {
		switch {
		case part == "user.slice" || strings.HasSuffix(part, ".scope"):
			return ""
		case strings.HasSuffix(part, ".service"):
			if protected(part) {
				return ""
			}
			return part
		}
	}
	return ""
}

// protected are services whose end would take the machine, its messages or
// people's sessions with them.
func protected(unit string) bool {
	switch unit {
	case "dbus.service", "dbus-broker.service", "systemd-journald.service", "systemd-logind.service", "systemd-udevd.service":
		return true
	}
	return strings.HasPrefix(unit, "user@") || strings.HasPrefix(unit, "systemd-journald@")
}

// show reads properties of units, one map a unit, by its Id.
func (s Systemd) show(ctx context.Context, units []string, props ...string) (map[string]map[string]string, error) {
	argv := append([]string{"systemctl", "show", "--property=Id," + strings.Join(props, ","), "--"}, units...)
	out, err := s.run(ctx, argv...)
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]string{}
	for _, block := range strings.Split(strings.TrimSpace(string(out)), "\n\n") {
		m := map[string]string{}
		for _, line := range strings.Split(block, "\n") {
			k, v, ok := strings.Cut(line, "=")
			if !ok {
				continue
			}
			if m[k] != "" { // Paths= comes once for each
				v = m[k] + "\n" + v
			}
			m[k] = v
		}
		if m["Id"] != "" {
			all[m["Id"]] = m
		}
	}
	return all, nil
}

func active(state string) bool {
	return state == "active" || state == "activating" || state == "reloading"
}

// With asks systemd what hangs on the units.
func (s Systemd) With(ctx context.Context, units, dirs []string) ([]string, error) {
	chosen := map[string]bool{}
	asked := map[string]bool{}
	todo := append([]string(nil), units...)
	for len(todo) > 0 {
		info, err := s.show(ctx, todo, "ActiveState", "TriggeredBy", "RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "Transient", "RefuseManualStart", "RefuseManualStop")
		if err != nil {
			return nil, err
		}
		for _, u := range todo {
			asked[u] = true
		}
		todo = nil
		for id, m := range info {
			asked[id] = true
			if !active(m["ActiveState"]) {
				continue
			}
			if m["RefuseManualStop"] == "yes" || m["RefuseManualStart"] == "yes" || m["Transient"] == "yes" || protected(id) {
				return nil, fmt.Errorf("%s cannot be stopped and started again", id)
			}
			chosen[id] = true
			for _, key := range []string{"TriggeredBy", "RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf"} {
				for _, u := range strings.Fields(m[key]) {
					// Targets and slices are not what writes. Stopping a unit
					// that a target requires stops the target, harmlessly,
					// but never is the target started again for it.
					if asked[u] || strings.HasSuffix(u, ".target") || strings.HasSuffix(u, ".slice") {
						continue
					}
					asked[u] = true
					todo = append(todo, u)
				}
			}
		}
	}
	watching, err := s.watching(ctx, dirs)
	if err != nil {
		return nil, err
	}
	for _, u := range watching {
		chosen[u] = true
	}
	var list []string
	for u := range chosen {
		list = append(list, u)
	}
	sort.Strings(list)
	return list, nil
}

// watching lists the active path units that watch something in dirs: systemd
// watches the directory it found, not the name.
func (s Systemd) watching(ctx context.Context, dirs []string) ([]string, error) {
	out, err := s.run(ctx, "systemctl", "list-units", "--type=path", "--state=active", "--plain", "--no-legend", "--no-pager")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Fields(line); len(f) > 0 && strings.HasSuffix(f[0], ".path") {
			all = append(all, f[0])
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	info, err := s.show(ctx, all, "Paths")
	if err != nil {
		return nil, err
	}
	var list []string
	for id, m := range info {
		for _, p := range strings.Split(m["Paths"], "\n") {
			p, _, _ = strings.Cut(p, " (") // "/var/spool/cups/d* (PathExistsGlob)"
			for _, d := range dirs {
				if inside(path.Clean(p), d) {
					list = append(list, id)
				}
			}
		}
	}
	return list, nil
}

// Stop stops them in one job, so that systemd orders them, and so that no
// socket starts a service that is being stopped.
func (s Systemd) Stop(ctx context.Context, units []string) error {
	if len(units) == 0 {
		return nil
	}
	if own, _ := s.Of(os.Getpid()); own != "" && s.Guest == "" {
		for _, u := range units {
			if u == own {
				return fmt.Errorf("beadm itself runs in %s", u)
			}
		}
	}
	_, err := s.run(ctx, append([]string{"systemctl", "stop", "--"}, units...)...)
	return err
}

// Start starts them in one job, in systemd's order. One that is not there any
// more (its package was removed) is passed over, and one that fails does not
// keep the others from starting.
func (s Systemd) Start(ctx context.Context, units []string) error {
	if len(units) == 0 {
		return nil
	}
	if _, err := s.run(ctx, append([]string{"systemctl", "start", "--"}, units...)...); err == nil {
		return nil
	}
	info, err := s.show(ctx, units, "LoadState")
	if err != nil {
		return err
	}
	var errs []error
	for _, u := range units {
		if info[u]["LoadState"] == "not-found" {
			continue
		}
		_, err := s.run(ctx, "systemctl", "start", "--", u)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Release moves a persistent journal to /run: stopping journald would cut the
// output of every service.
func (s Systemd) Release(ctx context.Context, dirs []string) (bool, error) {
	for _, d := range dirs {
		if inside("/var/log/journal", d) {
			_, err := s.run(ctx, "journalctl", "--relinquish-var")
			return err == nil, err
		}
	}
	return false, nil
}

// Resume lets journald write to /var/log/journal again, with what it kept in
// /run meanwhile.
func (s Systemd) Resume(ctx context.Context) error {
	_, err := s.run(ctx, "journalctl", "--flush")
	return err
}
