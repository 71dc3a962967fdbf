package activate

import (
	"strings"
	"testing"

	"beadm/activate/boot"
)

// What the administrator gave the kernel every entry keeps, and nothing of a
// trial.
func TestKernelArgs(t *testing.T) {
	for in, want := range map[string]string{
		"BOOT_IMAGE=/vmlinuz root=/dev/vda3 ro quiet panic=10 oops=panic console=ttyS0 resume=UUID=x":                                  "quiet panic=10 oops=panic console=ttyS0",
		"root=x quiet panic=10 init=/usr/lib/beadm/init beadm.be=b0123456789ab":                                                        "quiet panic=10",
		"root=x quiet panic=10 init=/usr/lib/beadm/init beadm.be=b0123456789ab beadm.trial=1 " + strings.Join(boot.TrialArgs(30), " "): "quiet panic=10",
	} {
		args, _ := kernelArgs([]byte(in))
		if got := strings.Join(args, " "); got != want {
			t.Errorf("of %q are kept %q, not %q", in, got, want)
		}
	}
}

// What was given for the present boot is in no entry, and said.
func TestKernelArgsOfOneBoot(t *testing.T) {
	for in, want := range map[string][2]string{
		"root=x ro quiet single":                            {"quiet", "single"},
		"root=x s S 1 2 3 4 5 rescue emergency -b -s a":     {"a", "s S 1 2 3 4 5 rescue emergency -b -s"},
		"root=x rd.break nomodeset break=premount break":    {"nomodeset", "rd.break break=premount break"},
		"a systemd.unit=rescue.target rd.systemd.unit=b c":  {"a c", "systemd.unit=rescue.target rd.systemd.unit=b"},
		"systemd.debug_shell systemd.debug-shell=1 a":       {"a", "systemd.debug_shell systemd.debug-shell=1"},
		"fsck.mode=force fsck.mode=skip fsck.repair=yes":    {"fsck.mode=skip fsck.repair=yes", "fsck.mode=force"},
		"root=x quiet -- 3 nosplash":                        {"quiet", "-- 3 nosplash"},
		`dyndbg="file a.c line 1 +p; single ro -- x" quiet`: {`dyndbg="file a.c line 1 +p; single ro -- x" quiet`, ""},
		"breakpoint=1 singles=1 cgroup.memory=s":            {"breakpoint=1 singles=1 cgroup.memory=s", ""},
	} {
		args, dropped := kernelArgs([]byte(in))
		if got := [2]string{strings.Join(args, " "), strings.Join(dropped, " ")}; got != want {
			t.Errorf("of %q are kept and dropped %q, not %q", in, got, want)
		}
	}
	// An older beadm kept them: the next entry is without them.
	if keep, dropped := lasting([]string{"quiet", "single"}); len(keep) != 1 || len(dropped) != 1 {
		t.Errorf("%q %q", keep, dropped)
	}
}
