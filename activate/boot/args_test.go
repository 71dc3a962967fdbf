package boot

import (
	"strings"
	"testing"
)

// What the administrator keeps for every boot does not keep a fault of a trial
// from its end.
func TestKeptInTrial(t *testing.T) {
	for in, want := range map[string]string{
		"quiet console=ttyS0 panic_print=1 watchdog.handle_boot_enabled=0":  "quiet console=ttyS0 panic_print=1 watchdog.handle_boot_enabled=0",
		"a nowatchdog b nosoftlockup c nmi_watchdog=0 d nmi-watchdog=0 e":   "a b c d e",
		"a panic=0 oops=x softlockup_panic=0 nmi_watchdog=nopanic b":        "a panic=0 oops=x softlockup_panic=0 nmi_watchdog=nopanic b",
		"sysctl.kernel.panic=0 sysctl.kernel/panic_on_oops=0 sysctl.vm.a=1": "sysctl.vm.a=1",
		"systemd.crash-shell systemd.crash_reboot=0 a":                      "systemd.crash_reboot=0 a",
	} {
		if got := strings.Join(KeptInTrial(strings.Fields(in)), " "); got != want {
			t.Errorf("of %q a trial keeps %q, not %q", in, got, want)
		}
		if n := len(KeptInTrial(strings.Fields(in))) + len(LeftOutOfTrial(strings.Fields(in))); n != len(strings.Fields(in)) {
			t.Errorf("of %q %d are either kept or left out", in, n)
		}
	}
}
