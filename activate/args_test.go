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

// The subvolume is the entry's; what else the root is mounted with is everybody's,
// in the one rootflags= that counts.
func TestRootflags(t *testing.T) {
	of := []string{"root=UUID=1", "rootflags=subvol=@be-new"}
	for in, want := range map[string]string{
		"root=UUID=1 ro rootflags=subvol=root rhgb quiet":                            "root=UUID=1 rootflags=subvol=@be-new rhgb quiet",
		"root=UUID=1 ro rootflags=subvol=root,compress=zstd:1 rhgb quiet":            "root=UUID=1 rootflags=subvol=@be-new,compress=zstd:1 rhgb quiet",
		"root=UUID=1 rootflags=rw,degraded,subvolid=257 quiet":                       "root=UUID=1 rootflags=subvol=@be-new,rw,degraded quiet",
		"root=UUID=1 rootflags=subvol=@,usebackuproot,rescue=all,nologreplay,ro a=b": "root=UUID=1 rootflags=subvol=@be-new a=b",
		"root=UUID=1 splash=silent":                                                  "root=UUID=1 rootflags=subvol=@be-new splash=silent",
	} {
		args, _ := kernelArgs([]byte(in))
		root, rest := withRootflags(of, args)
		if got := strings.Join(append(root, rest...), " "); got != want {
			t.Errorf("of %q comes %q, not %q", in, got, want)
		}
	}
	// Of ext4 and others, too, and once.
	args, _ := kernelArgs([]byte("root=/dev/vg/root rootflags=nouuid,logbufs=8 quiet"))
	if root, _ := withRootflags([]string{"root=/dev/vg/be_new", "rootflags=nouuid"}, args); strings.Join(root, " ") != "root=/dev/vg/be_new rootflags=nouuid,logbufs=8" {
		t.Errorf("of xfs comes %q", root)
	}
	// One that is read-only stays that, whatever ran before.
	args, _ = kernelArgs([]byte("root=/dev/vg/root rw quiet"))
	if root, rest := withRootflags([]string{"root=/dev/vg/be_new", "ro"}, args); strings.Join(append(root, rest...), " ") != "root=/dev/vg/be_new ro quiet" {
		t.Errorf("of a read-only one comes %q %q", root, rest)
	}
	if of[1] != "rootflags=subvol=@be-new" {
		t.Errorf("the root's own arguments are %q", of)
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
