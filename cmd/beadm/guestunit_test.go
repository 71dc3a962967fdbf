package main

import (
	"strings"
	"testing"
)

// The unit waits for wherever the guests are, and runs once a boot.
func TestGuestUnit(t *testing.T) {
	text := guestUnitText("/usr/sbin/beadm", "/srv/100%/my machines", "/var/lib/lxc")
	for _, want := range []string{
		"RequiresMountsFor=\"/srv/100%%/my machines\" \"/var/lib/lxc\"\n",
		"ConditionPathExists=!/run/beadm/guests-ready\n",
		"ExecStart=/usr/sbin/beadm guest boot\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the unit does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "@") {
		t.Errorf("something was not filled in:\n%s", text)
	}
}
