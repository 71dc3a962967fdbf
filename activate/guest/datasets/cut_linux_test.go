package datasets

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"beadm/activate/guest"
)

// zfsThatKills is a zfs that runs the real one, and kills who asks at one of the
// changes: 2n is before the nth, 2n+1 behind it.
const zfsThatKills = `#!/bin/sh
case $1 in create|set|rename|mount|unmount|inherit|destroy) ;; *) exec %[1]s "$@";; esac
left=$(cat %[2]s)
echo $((left-2)) >%[2]s
[ "$left" != 0 ] || { kill -9 $PPID; exit 1; }
%[1]s "$@"; code=$?
[ "$left" != 1 ] || kill -9 $PPID
exit $code
`

// TestPlaceStep is not one: TestPlaceIsCut has it take one step, and be killed.
func TestPlaceStep(t *testing.T) {
	root, step := os.Getenv("BEADM_PLACE_ROOT"), os.Getenv("BEADM_PLACE_STEP")
	if root == "" {
		t.Skip("NOT RUN: it is a part of TestPlaceIsCut")
	}
	if err := placeStep(root, step); err != nil {
		t.Fatal(err)
	}
}

func placeStep(root, step string) error {
	p := guest.Place{Root: root}
	if err := Mend(p); err != nil {
		return err
	}
	p.Storage = For(p, nil)
	if step == "adopt" {
		if err := p.Make(); err != nil {
			return err
		}
		return p.Adopt("default")
	}
	if err := p.Release(); err != nil {
		return err
	}
	return p.Forget()
}

// Killed at each change of ZFS, taking a guest in and giving it back are finished
// by being repeated, also when the host has booted between: it has one root, whole.
func TestPlaceIsCut(t *testing.T) {
	pool := os.Getenv("BEADM_ZFS_POOL")
	if pool == "" {
		t.Skip("NOT RUN: BEADM_ZFS_POOL does not name a pool to make; make test-vm runs this on real ZFS")
	}
	work := t.TempDir()
	zfs := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("zfs", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("zfs %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	disk := filepath.Join(work, "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 256<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("zpool", "create", "-O", "mountpoint=none", pool, disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("zpool", "destroy", "-f", pool).Run() })
	machines := filepath.Join(work, "machines")
	zfs("create", "-o", "mountpoint="+machines, pool+"/machines")
	root := filepath.Join(machines, "web1")
	zfs("create", pool+"/machines/web1")
	zfs("create", pool+"/machines/web1/srv")
	for _, file := range []string{"a", "srv/b"} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	real, err := exec.LookPath("zfs")
	if err != nil {
		t.Fatal(err)
	}
	bin, count := filepath.Join(work, "bin"), filepath.Join(work, "count")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "zfs"), fmt.Appendf(nil, zfsThatKills, real, count), 0o755); err != nil {
		t.Fatal(err)
	}
	// killed takes a step in a process that is killed at change n, and says whether
	// it came so far.
	killed := func(step string, n int) bool {
		t.Helper()
		if err := os.WriteFile(count, []byte(strconv.Itoa(n)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestPlaceStep$")
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "BEADM_PLACE_ROOT="+root, "BEADM_PLACE_STEP="+step)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("%s, cut %d: %v: %s", step, n, err, out)
		}
		return err != nil
	}
	whole := func(when string) {
		t.Helper()
		for _, file := range []string{"a", "srv/b"} {
			if got, err := os.ReadFile(filepath.Join(root, file)); string(got) != file {
				t.Fatalf("%s: %s is %q, %v", when, file, got, err)
			}
		}
	}
	// zfs takes no canmount back to where it was not said.
	look := func() string {
		return strings.ReplaceAll(zfs("get", "-Hr", "-o", "name,property,value,source", "guid,mountpoint,canmount,mounted", pool+"/machines"), "canmount\ton\tlocal", "canmount\ton\tdefault")
	}
	before := look()
	next := func(n int) int { return n + 1 }
	if testing.Short() {
		next = func(n int) int { return n + 5 }
	}
	for _, boots := range []bool{false, true} {
		for n, cuts := 0, 2; cuts > 0; n = next(n) {
			cuts = 0
			for _, step := range []string{"adopt", "release"} {
				when := fmt.Sprintf("%s, cut %d, with a boot: %v", step, n, boots)
				if killed(step, n) {
					cuts++
					t.Log(when)
					if boots {
						zfs("mount", "-a")
					}
					if err := placeStep(root, step); err != nil {
						t.Fatalf("%s: %v", when, err)
					}
				}
				whole(when)
				if _, adopted, err := (guest.Place{Root: root}).Current(); err != nil || adopted != (step == "adopt") {
					t.Fatalf("%s: adopted: %v, %v", when, adopted, err)
				}
			}
			if after := look(); after != before {
				t.Fatalf("cut %d: before\n%s\nafter\n%s", n, before, after)
			}
			if left, err := os.ReadDir(machines); err != nil || len(left) != 1 {
				t.Fatalf("cut %d: %v, %v", n, left, err)
			}
			if cuts == 0 && n < 8 {
				t.Errorf("it made only %d changes", n/2)
			}
		}
	}
}
