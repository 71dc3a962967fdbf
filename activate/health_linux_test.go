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

// A check that succeeded and left something running has succeeded; and of what
// a check prints the state keeps a short line that does nothing to a terminal.
func TestWordsOfAChecks(t *testing.T) {
	began := time.Now()
	out, err := runCheck(context.Background(), "sleep 30 & echo fine; exit 0", 20*time.Second)
	if err != nil || string(out) != "fine\n" || time.Since(began) > 15*time.Second {
		t.Errorf("%q %v after %s", out, err, time.Since(began))
	}
	if _, err := runCheck(context.Background(), "sleep 30 & exit 3", 20*time.Second); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("one that failed and left something running: %v", err)
	}
	target := &Target{Root: "/", Conf: DefaultConf()}
	target.Conf.Checks = []string{`printf 'evil \033]0;owned\007\302\233\377'; head -c 2000000 /dev/zero | tr '\0' x; echo; printf 'last \033[2J\302\233 word'; exit 1`, "head -c 2000000 /dev/zero | tr '\\0' y; exit 1"}
	checks := target.runChecks(context.Background(), nil)
	for i, want := range []string{"exit status 1: last  [2J  word", "yyy"} {
		if got := checks[i].Detail; len(got) > mostWords+100 || !strings.Contains(got, want) {
			t.Errorf("%d bytes: %.100q, want %q", len(got), got, want)
		}
	}
	if got := inBrief(strings.Repeat("\u00e4", mostWords)); len(got) > mostWords+3 || !strings.HasSuffix(got, "...") {
		t.Errorf("%d bytes, ends in %q", len(got), got[len(got)-9:])
	}
}
