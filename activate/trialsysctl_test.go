package activate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the kernel began with in a trial is not taken away by sysctl.d of what
// is on trial, and given back at the confirmation, once.
func TestTrialSysctl(t *testing.T) {
	sys := t.TempDir()
	if err := os.MkdirAll(filepath.Join(sys, "kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	// No NMI watchdog here.
	if err := os.WriteFile(filepath.Join(sys, "kernel/watchdog_thresh"), []byte("10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sysctl.d", filepath.Base(trialSysctl))
	if err := putTrialSysctl(file, sys, 7); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"-kernel.panic = 7\n", "-kernel.panic_on_oops = 1\n", "-kernel.softlockup_panic = 1\n", "-kernel.hardlockup_panic = 1\n", "-kernel.soft_watchdog = 1\n", "-kernel.watchdog_thresh = 10\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "nmi_watchdog") {
		t.Errorf("it sets what this kernel has not:\n%s", text)
	}
	// Debian's own, its link to sysctl.conf, and what an administrator calls his.
	names := []string{"50-default.conf", "99-local.conf", "99-sysctl.conf", "local.conf", filepath.Base(trialSysctl)}
	if slices.Sort(names); names[len(names)-1] != filepath.Base(trialSysctl) {
		t.Errorf("%q has the last word", names[len(names)-1])
	}

	var applied []string
	apply := func(names []string) error { applied = append(applied, names...); return nil }
	for range 2 {
		if err := dropTrialSysctl(file, apply); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(file); err == nil {
		t.Error("it is there still")
	}
	if len(applied) != len(trialSettings(0)) || applied[0] != "kernel.panic" {
		t.Errorf("given back: %q", applied)
	}
}
