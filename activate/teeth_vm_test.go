//go:build linux && vm

package activate_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// overlay has go build put a text in the place of another in one file of this
// module, for a program that lacks it. Nothing in the tree knows of that.
func overlay(t *testing.T, file, old, new string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", file))
	must(t, err)
	text, err := os.ReadFile(path)
	must(t, err)
	if strings.Count(string(text), old) != 1 {
		t.Fatalf("%s does not hold %q once", file, old)
	}
	dir := t.TempDir()
	without := filepath.Join(dir, filepath.Base(file))
	put(t, without, strings.Replace(string(text), old, new, 1), 0o644)
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: without}})
	must(t, err)
	put(t, filepath.Join(dir, "overlay.json"), string(list), 0o644)
	return filepath.Join(dir, "overlay.json")
}

// TestVMTeeth: with a safeguard taken out, each test that is there for it
// fails, and says what a user would see.
func TestVMTeeth(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: it runs tests that have to fail; make test-long runs it")
	}
	reconcile := [2]string{"if err := s.carryOver(ctx, running, o); err != nil {", "if err := error(nil); err != nil {"}
	for _, c := range []struct {
		name  string
		file  string
		out   [2]string // the one becomes the other
		tests string    // go test -run; natively if they are not of this package
		pkg   string
		each  string // matches the name of each that has to fail
		says  string // and this is why
	}{
		{
			// What comes as far as boot takes the token itself: these do not.
			name: "the loader leaves the token", file: "activate/boot/grub/script.go",
			out: [2]string{`	if save_env -f "$beadm_dir/env" beadm_trial beadm_tried; then
		set beadm_trial=unread
		set beadm_tried=unread
		load_env -f "$beadm_dir/env" beadm_trial beadm_tried
		if `, `	if [ -n "$beadm_try" ]; then
		if `},
			tests: "^TestVMFaults$/^(root_that_cannot_be_mounted|no_beadm_in_it|no_kernel|an_initrd_with_wrong_bytes)$",
			each:  "TestVMFaults/[a-z_]+", says: "nothing like \"Booting `debian'\" on the console",
		},
		{
			name: "no dead-man timer", file: "activate/trialunits.go",
			out:   [2]string{`wants = append(wants, "sysinit.target.wants/beadm-deadman.service")`, ""},
			tests: "^TestVMFaults$/^(userland_that_hangs|a_shutdown_that_hangs)$",
			each:  "TestVMFaults/[a-z_]+", says: `nothing like "SeaBIOS" on the console`,
		},
		{
			name: "no reconcile at boot", file: "activate/debts.go", out: reconcile,
			tests: "^TestVMFaults$/^power_cut$/^after_the_confirmation$/^0$",
			each:  "TestVMFaults/power_cut/.*", says: `what was locked does not say "alice L"`,
		},
		{
			name: "no reconcile at boot, natively", file: "activate/debts.go", out: reconcile,
			tests: "^(TestCycle|TestFailedTrials|TestFailbackSnapshot)$", pkg: "../cmd/beadm",
			each: "Test[A-Za-z]+", says: "can log in to",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.v", "-test.timeout=20m", "-test.parallel=1", "-test.run="+c.tests)
			if c.pkg != "" {
				cmd = exec.Command("go", "test", "-v", "-count=1", "-run", c.tests, c.pkg)
			}
			// It builds the program, which is what lacks the safeguard.
			cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay(t, c.file, c.out[0], c.out[1]))
			text, err := cmd.CombinedOutput()
			out := string(text)
			failed := regexp.MustCompile(`(?m)^ *--- FAIL: (`+c.each+`) `).FindAllStringSubmatch(out, -1)
			passed := regexp.MustCompile(`(?m)^ *--- (PASS|SKIP): (`+c.each+`) `).FindAllStringSubmatch(out, -1)
			switch {
			case err == nil || len(failed) == 0 || len(passed) != 0:
				t.Errorf("without the safeguard passed %q, failed %q (%v):\n%s", passed, failed, err, out)
			case strings.Count(out, c.says) < len(failed):
				t.Errorf("they fail for another reason than %q:\n%s", c.says, out)
			}
			for _, f := range failed {
				t.Logf("fails: %s", f[1])
			}
		})
	}
}
