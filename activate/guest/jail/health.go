package jail

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"beadm/activate/guest"
	"beadm/be"
)

var (
	// The first line of /etc/rc has the kernel add /bin/sh.
	rcRuns = regexp.MustCompile(`^(/bin/)?sh /etc/rc( autoboot)?$`)
	// rc.subr, run_rc_command: the answer to status.
	notRunning = regexp.MustCompile(`^([A-Za-z0-9_.-]{1,64}) is not running\.$`)
)

// askServices has a jail's own rc(8) say of each service that is enabled whether
// it runs.
const askServices = `for s in $(/usr/sbin/service -e); do "$s" status; done 2>/dev/null; exit 0`

// servicesTime is what they have to answer in.
const servicesTime = time.Minute

// Health says that a jail is up when /etc/rc in it has ended. Services are those
// that are enabled and do not run, by what service(8) in the jail says, which
// runs there: rc(8) keeps no account of what failed, so one that is not meant to
// go on running is among them, before as after. A jail that /etc/rc does not
// start has none.
func (r *Runtime) Health(ctx context.Context, g guest.Guest) (guest.Health, error) {
	e, _, err := r.look(ctx, g)
	if err != nil {
		return guest.Health{}, err
	}
	if !e.Running {
		return guest.Health{}, be.E(be.Other, "the jail %s does not run", e.Name)
	}
	processes, err := r.processes(ctx, e.jid)
	if err != nil {
		return guest.Health{}, err
	}
	if slices.ContainsFunc(processes, rcRuns.MatchString) {
		return guest.Health{Why: "/etc/rc has not ended yet"}, nil
	}
	if !e.hasRC() {
		return guest.Health{Up: true}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, servicesTime)
	defer cancel()
	text, err := r.ask(bounded, jexec, strconv.Itoa(e.jid), "/bin/sh", "-c", askServices)
	if err != nil {
		return guest.Health{}, fmt.Errorf("cannot ask the jail %s for its services: %w", e.Name, err)
	}
	return guest.Health{Up: true, Failed: stopped(text)}, nil
}

// hasRC says whether the jail is started by /etc/rc, or some command that may
// be.
func (e entry) hasRC() bool {
	for _, p := range e.configured.params {
		for _, v := range p.values {
			if (p.name == "exec.start" || p.name == "command") && slices.Contains(strings.Fields(v), "/etc/rc") {
				return true
			}
		}
	}
	return false
}

// stopped are the services that do not run, sorted. The text is a guest's.
func stopped(text string) (names []string) {
	for line := range strings.Lines(text) {
		if m := notRunning.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
