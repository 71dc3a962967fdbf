//go:build linux && vm

package vmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The contract suite of Store on real OpenZFS: the package's own test binary,
// run in guests, in halves side by side, and again where /boot is in another
// pool. Short: of the places where an operation fails or is cut it meets a few,
// others each time, and what takes longest it leaves out; make test-long meets all.
func TestVMZFSStoreContract(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "zfs.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, "beadm/be/zfs")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the suite: %v: %s", err, out)
	}
	limit, flags, left, pool := 30*time.Minute, "-test.v -test.short", "|Streams|CloneOfAnother|Joint|SpaceOfSets", "Test(No)?BootPool(AsksNothing)?$|TestBootPoolContract/(Adopt|Clone|CloneOfSnapshot|Destroy|Rename|Mount|Parts|Elsewhere)$"
	if os.Getenv("BEADM_LONG") != "" {
		limit, flags, left, pool = 90*time.Minute, "-test.v", "", "Test(No)?BootPool"
	}
	const trouble = "Cuts|Failures|Cancelled"
	for _, half := range []struct {
		name, tests string
		least       int
	}{
		{"what is cut or fails", "-test.run 'TestContract/(" + trouble + ")$'", 14},
		{"all other", "-test.skip 'TestContract/(" + trouble + left + ")$|Test(No)?BootPool'", 20},
		{"with /boot in another pool", "-test.run '" + pool + "'", 10},
	} {
		t.Run(half.name, func(t *testing.T) {
			t.Parallel()
			v := NewDisk(t, ZFS).Start(Options{Memory: 1536, Payload: map[string]string{"/root/zfs.test": binary}})
			v.Install()
			out, code := v.Run(limit, "cd /root && TMPDIR=/root BEADM_ZFS_POOL=scratch ./zfs.test "+flags+" "+half.tests)
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
			if ran < half.least || strings.Contains(out, "NOT RUN") {
				t.Errorf("the suite did not really run: %d passed", ran)
			}
		})
	}
}
