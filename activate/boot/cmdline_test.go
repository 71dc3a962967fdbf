package boot

import (
	"slices"
	"testing"
)

func TestCmdline(t *testing.T) {
	for _, c := range []struct {
		in    string
		id    string
		trial bool
	}{
		{"", "", false},
		{"BOOT_IMAGE=/ROOT/a@/vmlinuz root=ZFS=rpool/ROOT/a quiet\n", "", false},
		{"quiet beadm.be=b0123456789ab ro\n", "b0123456789ab", false},
		{"beadm.be=b0123456789ab beadm.trial=1\n", "b0123456789ab", true},
		{"beadm.trial=1 beadm.be=b0123456789ab", "b0123456789ab", true},
		{"beadm.be=b0123456789ab beadm.trial=0", "b0123456789ab", false},
		{"beadm.be=b0123456789ab beadm.trial", "b0123456789ab", false},
		{"beadm.trial=1", "", false},
		{"beadm.be=../x beadm.trial=1", "", false},
		{"beadm.be=B0123456789AB", "", false},
		{"beadm.be=b000000000000 beadm.be=b0123456789ab", "b0123456789ab", false},
		{"beadm.be=b0123456789ab -- beadm.trial=1", "b0123456789ab", false},
		{`beadm.be=b0123456789ab dyndbg="x beadm.trial=1 y"`, "b0123456789ab", false},
		{`"x beadm.trial=1" beadm.be="b0123456789ab"`, "b0123456789ab", false},
		{`foo"bar beadm.trial=1" beadm.be=b0123456789ab`, "b0123456789ab", false},
		{"xbeadm.trial=1 beadm.be=b0123456789ab\x00", "b0123456789ab", false},
	} {
		if id, trial := Cmdline([]byte(c.in)); id != c.id || trial != c.trial {
			t.Errorf("%q: %q %v, want %q %v", c.in, id, trial, c.id, c.trial)
		}
	}
}

func TestTrialArgsEndInReset(t *testing.T) {
	args := TrialArgs(30)
	for _, want := range []string{"panic=30", "oops=panic", "rd.emergency=reboot", "noresume"} {
		if !slices.Contains(args, want) {
			t.Errorf("%s is missing", want)
		}
	}
}
