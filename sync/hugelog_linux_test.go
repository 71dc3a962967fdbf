package reconcile

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// A log of many gigabytes is carried in constant memory, and its holes stay
// holes. It runs in a process of its own, whose peak the kernel tells.
func TestHugeLogInConstantMemory(t *testing.T) {
	size := int64(1) << 30
	if os.Getenv("BEADM_LONG") != "" {
		size = 9 << 30 // beyond what 32 bits count
	}
	const child = "BEADM_TEST_HUGE"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHugeLogInConstantMemory$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		m := regexp.MustCompile(`peak (\d+) kB`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("no peak:\n%s", out)
		}
		peak, _ := strconv.Atoi(string(m[1]))
		t.Logf("a log of %d GiB: peak of %d MiB", size>>30, peak>>10)
		if peak > 128<<10 {
			t.Errorf("%d MiB of memory for a log of %d GiB", peak>>10, size>>30)
		}
		return
	}
	w := newWorld(t)
	w.write("OLD", "etc/beadm/synclist", "/var/log/app APPEND\n")
	w.write("OLD", "var/log/app", "first\n")
	w.ok(os.Truncate(w.path("OLD", "var/log/app"), size))
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.add("OLD", "var/log/app", "last\n")
	w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
	_, err := w.a.Reconcile(t.Context(), Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")})
	w.ok(err)
	f, err := os.Open(w.path("NEW", "var/log/app"))
	w.ok(err)
	defer f.Close()
	info, err := f.Stat()
	w.ok(err)
	end := make([]byte, 5)
	if _, err := f.ReadAt(end, size); err != nil || string(end) != "last\n" || info.Size() != size+5 {
		t.Errorf("%d bytes, at the end %q: %v", info.Size(), end, err)
	}
	out, err := exec.Command("du", "-k", f.Name()).Output()
	w.ok(err)
	var used int
	fmt.Sscan(string(out), &used)
	if used > 1024 {
		t.Errorf("the holes take %d kB now", used)
	}
	status, err := os.ReadFile("/proc/self/status")
	w.ok(err)
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	fmt.Printf("peak %s kB\n", m[1])
}
