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
// run in guests side by side, once more where /boot is in another pool, and with
// what takes a guest's root in. Short: of the places where an operation fails or is
// cut it meets a few, others each time, and what takes longest it leaves out; make
// test-long meets all.
func TestVMZFSStoreContract(t *testing.T) {
	payload := map[string]string{}
	for name, pkg := range map[string]string{"zfs.test": "beadm/be/zfs", "datasets.test": "beadm/activate/guest/datasets"} {
		payload["/root/"+name] = filepath.Join(t.TempDir(), name)
		cmd := exec.Command("go", "test", "-c", "-o", payload["/root/"+name], pkg)
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cannot build the suite: %v: %s", err, out)
		}
	}
	limit, flags, left, pool := 30*time.Minute, "-test.v -test.short", "|Streams|CloneOfAnother|Joint|SpaceOfSets", "Test(No)?BootPool(AsksNothing)?$|TestBootPoolContract/(Clone|Destroy|Rename)$"
	if os.Getenv("BEADM_LONG") != "" {
		limit, flags, left, pool = 90*time.Minute, "-test.v", "", "Test(No)?BootPool"
	}
	const trouble = "Cuts|Failures|Cancelled"
	for _, part := range []struct {
		name, tests string
		least       int
	}{
		{"what is cut or fails", "./zfs.test " + flags + " -test.run 'TestContract/(" + trouble + ")$'", 14},
		{"all other", "./zfs.test " + flags + " -test.skip 'TestContract/(" + trouble + left + ")$|Test(No)?BootPool'", 20},
		{"with /boot in another pool", "./zfs.test " + flags + " -test.run '" + pool + "'", 6},
		{"guests' places that are cut", "./datasets.test " + flags + " -test.run TestPlaceIsCut", 1},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			v := NewDisk(t, ZFS).Start(Options{Memory: 1536, Payload: payload})
			v.Install()
			out, code := v.Run(limit, "cd /root && TMPDIR=/root BEADM_ZFS_POOL=scratch "+part.tests)
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
			if ran < part.least || strings.Contains(out, "NOT RUN") {
				t.Errorf("the suite did not really run: %d passed", ran)
			}
		})
	}
}
