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
		if got := strings.Join(kernelArgs([]byte(in)), " "); got != want {
			t.Errorf("of %q are kept %q, not %q", in, got, want)
		}
	}
}
