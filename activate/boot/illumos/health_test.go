package illumos

import (
	"os"
	"strings"
	"testing"

	"beadm/activate/boot/bootenv/simpool"
)

const askServices = "svcs -a -H -o state,fmri"

// The answers are constructed after svcs(1) and route(8): states and columns are
// the manuals', the rest is invented.
func TestChecks(t *testing.T) {
	text, err := os.ReadFile("testdata/constructed-svcs.txt")
	if err != nil {
		t.Fatal(err)
	}
	services := string(text)
	healthy := func() *simpool.Machine {
		m := machine()
		m.Answers[askServices] = simpool.Answer{Out: services}
		m.Answers["route -n get -inet default"] = simpool.Answer{Out: "   route to: default\ndestination: default\n    gateway: 192.0.2.1\n  interface: net0\n"}
		m.Answers["route -n get -inet6 default"] = simpool.Answer{Status: 1, Words: "default: not in table"}
		return m
	}
	base := LookAround(t.Context(), healthy().Run)
	if !base.DefaultRoute || !base.Sshd || strings.Join(base.FailedUnits, " ") != "svc:/network/ntp:default" {
		t.Fatalf("the one before is %+v", base)
	}
	for name, c := range map[string]struct{ line, out, bad string }{
		"as before":         {askServices, services, ""},
		"still starting":    {askServices, services + "offline*       svc:/network/smtp:sendmail\n", "jobs: 1 services are still starting"},
		"one more fails":    {askServices, services + "degraded       svc:/system/cron:default\n", "units: in maintenance or degraded: svc:/system/cron:default"},
		"no sshd":           {askServices, strings.Replace(services, "online         svc:/network/ssh", "disabled       svc:/network/ssh", 1), "sshd: svc:/network/ssh:default is not online"},
		"SMF talks rubbish": {askServices, "svcs: something is wrong with it\n", "jobs: cannot ask SMF"},
		"no route":          {"route -n get -inet default", "", "route: there is no default route"},
	} {
		m := healthy()
		m.Answers[c.line] = simpool.Answer{Out: c.out}
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
}
