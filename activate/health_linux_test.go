package activate

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"beadm/be/state"
)

// What systemctl show prints, of systemd 252.
func TestReadRestarting(t *testing.T) {
	units := func(sets ...string) (lines []string) {
		for _, s := range sets {
			lines = append(lines, strings.Fields(s)...)
		}
		return lines
	}
	for _, c := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"none", nil, nil},
		{"quiet", units("NRestarts=0 Id=a.service SubState=running StateChangeTimestampMonotonic=99000000"), nil},
		{"about to be restarted", units("NRestarts=0 Id=a.service SubState=running StateChangeTimestampMonotonic=5", "NRestarts=0 Id=b.service SubState=auto-restart StateChangeTimestampMonotonic=5"), []string{"b.service"}},
		{"restarted just now", units("NRestarts=7 Id=b.service SubState=running StateChangeTimestampMonotonic=99000000", "NRestarts=1 Id=a.service SubState=start StateChangeTimestampMonotonic=91000000"), []string{"a.service", "b.service"}},
		{"restarted long ago", units("NRestarts=3 Id=a.service SubState=running StateChangeTimestampMonotonic=89000000"), nil},
		{"no service", units("Id=a.service SubState=dead StateChangeTimestampMonotonic=0"), nil},
	} {
		if got := readRestarting(c.lines, 90*time.Second); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A check that hangs is ended with what it started: it runs again and again.
func TestCheckThatHangs(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	_, err := runCheck(context.Background(), "sleep 1234 & echo $! >"+dir+"/pid; sleep 1234; true", time.Second)
	if err == nil || time.Since(start) > 10*time.Second {
		t.Errorf("it ended after %s with %v", time.Since(start), err)
	}
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what it started still runs: %s", stat)
		}
	}
}

// While a unit that boot-complete.target waits for still runs, the trial is
// not healthy; and that unit is started once.
func TestSlowBootComplete(t *testing.T) {
	dir := t.TempDir()
	script := `#!/bin/sh
case "$1" in
list-jobs) test -e ` + dir + `/started && { echo "7 health.service start running"; echo "8 boot-complete.target start waiting"; }; exit 0;;
start) echo once >>` + dir + `/started;;
show) case "$2" in boot-complete.target) echo LoadState=loaded; echo ActiveState=inactive;; esac;;
esac
exit 0
`
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	target := &Target{Root: "/", Conf: DefaultConf()}
	for i := range 3 {
		complete := -1
		for j, c := range target.runChecks(context.Background(), &state.Baseline{}) {
			if c.Name == "boot-complete" && !c.OK {
				complete = j
			}
		}
		if complete < 0 {
			t.Errorf("round %d: boot-complete.target is waited for, and the check says nothing", i)
		}
	}
	if started, err := os.ReadFile(dir + "/started"); err != nil || string(started) != "once\n" {
		t.Errorf("started: %q %v", started, err)
	}
}
