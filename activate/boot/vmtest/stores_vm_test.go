//go:build linux && vm

package vmtest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The contract suite of Store on real OpenZFS: the package's own test binary,
// run in the guest.
func TestVMZFSStoreContract(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "zfs.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, "beadm/be/zfs")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the suite: %v: %s", err, out)
	}
	v := NewDisk(t).Start(Options{Memory: 1536, Payload: map[string]string{"/root/zfs.test": binary}})
	v.Install()
	out, code := v.Run(20*time.Minute, "cd /root && TMPDIR=/root BEADM_ZFS_POOL=scratch ./zfs.test -test.v")
	if code != 0 || !strings.Contains(out, "PASS") {
		t.Errorf("ended with %d:\n%s", code, lastLines(out, 150))
	}
	ran := 0
	for line := range strings.Lines(out) {
		if strings.HasPrefix(strings.TrimSpace(line), "--- ") {
			t.Log(strings.TrimRight(line, "\n"))
			if strings.Contains(line, "--- PASS") {
				ran++
			}
		}
	}
	if ran < 10 || strings.Contains(out, "NOT RUN") {
		t.Errorf("the suite did not really run: %d passed", ran)
	}
}
