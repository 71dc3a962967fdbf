package zone

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"beadm/activate/guest"
	"beadm/be"
)

// withoutSMF are brands whose zones have no svcs(1).
var withoutSMF = map[string]bool{"lx": true, "solaris8": true, "solaris9": true}

// servicesTime is what a zone has to answer in.
const servicesTime = time.Minute

// Health says that a zone is up when none of its services is on its way and the
// last milestone is reached, or something has failed, by what svcs(1) in the zone
// says, which runs there. A zone of a brand without SMF is up when it runs.
func (r *Runtime) Health(ctx context.Context, g guest.Guest) (guest.Health, error) {
	e, err := r.look(ctx, g)
	if err != nil {
		return guest.Health{}, err
	}
	switch {
	case !e.Running:
		return guest.Health{}, be.E(be.Other, "the zone %s does not run", e.Name)
	case e.state != "running":
		return guest.Health{Why: "the zone is " + e.words()}, nil
	case withoutSMF[e.brand]:
		return guest.Health{Up: true}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, servicesTime)
	defer cancel()
	text, err := r.programs.Ask(bounded, enter(e.Name, "/usr/bin/svcs -a -H -o state,fmri"))
	if err != nil {
		return guest.Health{}, fmt.Errorf("cannot ask the zone %s for its services: %w", e.Name, err)
	}
	return health(text)
}

// enter has a shell in a zone run a line. Of several arguments zlogin would make
// one, and not quote all of it; what begins with a tilde is no command to it.
func enter(name, line string) []string { return []string{zlogin, "-E", "-S", name, line} }

// milestone is reached after all others (svc.startd(8)).
const milestone = "svc:/milestone/multi-user-server:default"

// fmri is of smf(7): what else a guest calls a service is not repeated.
var fmri = regexp.MustCompile(`^(svc|lrc):/[A-Za-z0-9_./,:@%+-]{1,250}$`)

// health reads svcs(1): an asterisk behind a state says that the service is on
// its way to another. The text is a guest's.
func health(text string) (guest.Health, error) {
	var h guest.Health
	starting, last := 0, ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 || !fmri.MatchString(f[1]) {
			return guest.Health{}, fmt.Errorf("cannot read the line %q of svcs", line)
		}
		state, moving := strings.CutSuffix(f[0], "*")
		if f[1] == milestone {
			last = state
		}
		switch {
		case moving:
			starting++
		case state == "maintenance" || state == "degraded":
			h.Failed = append(h.Failed, f[1])
		}
	}
	slices.Sort(h.Failed)
	switch {
	case starting > 0:
		h.Why = fmt.Sprintf("%d services are still starting", starting)
	case (last == "offline" || last == "uninitialized") && h.Failed == nil:
		h.Why = milestone + " is " + last
	default:
		h.Up = true
	}
	return h, nil
}
