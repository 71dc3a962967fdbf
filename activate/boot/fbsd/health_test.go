package fbsd

import (
	"os"
	"strings"
	"testing"

	"beadm/activate/boot/bootenv/simpool"
	"beadm/be/state"
)

func read(t *testing.T, name string) simpool.Answer {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return simpool.Answer{Out: string(text)}
}

const (
	askRc    = "pgrep -f ^/bin/sh /etc/rc( autoboot)?$"
	askRoute = "route -n get -inet default"
	askSshd  = "sockstat -46l -P tcp"
)

// The answers are constructed after pgrep(1), route(8) and sockstat(1): columns
// and exit statuses are the manuals', the rest is invented.
func TestChecks(t *testing.T) {
	healthy := func() *simpool.Machine {
		m := machine()
		m.Answers[askRc] = simpool.Answer{Status: 1}
		m.Answers[askRoute] = read(t, "constructed-route.txt")
		m.Answers["route -n get -inet6 default"] = simpool.Answer{Status: 1, Words: "route: route has not been found"}
		m.Answers[askSshd] = read(t, "constructed-sockstat.txt")
		return m
	}
	base := LookAround(t.Context(), healthy().Run)
	if !base.DefaultRoute || !base.Sshd {
		t.Fatalf("the healthy one is %+v", base)
	}
	for name, c := range map[string]struct {
		line   string
		answer simpool.Answer
		bad    string
	}{
		"healthy":            {"true", simpool.Answer{}, ""},
		"rc still runs":      {askRc, simpool.Answer{Out: "17\n"}, "jobs: /etc/rc has not ended yet"},
		"pgrep is broken":    {askRc, simpool.Answer{Status: 3, Words: "pgrep: kvm_openfiles"}, "jobs: cannot see whether /etc/rc has ended"},
		"no route":           {askRoute, simpool.Answer{Status: 1, Words: "route: route has not been found"}, "route: there is no default route"},
		"sshd is not there":  {askSshd, simpool.Answer{Out: "USER     COMMAND    PID   FD  PROTO  LOCAL ADDRESS         FOREIGN ADDRESS      \n"}, "sshd: sshd does not listen"},
		"sockstat is broken": {askSshd, simpool.Answer{Status: 1, Words: "ld-elf.so.1: Shared object not found"}, "sshd: sshd does not listen"},
	} {
		m := healthy()
		m.Answers[c.line] = c.answer
		var bad []string
		for _, r := range Check(t.Context(), m.Run, &base) {
			if !r.OK {
				bad = append(bad, r.Name+": "+r.Detail)
			}
		}
		if got := strings.Join(bad, "; "); got != c.bad && !(c.bad != "" && strings.HasPrefix(got, c.bad)) {
			t.Errorf("%s: bad is %q, want %q", name, got, c.bad)
		}
	}
	// What was not there before does not fail a trial.
	m := healthy()
	m.Answers[askSshd], m.Answers[askRoute] = simpool.Answer{Status: 1}, simpool.Answer{Status: 1}
	for _, r := range Check(t.Context(), m.Run, &state.Baseline{}) {
		if !r.OK {
			t.Errorf("%+v", r)
		}
	}
}
