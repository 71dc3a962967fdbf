//go:build linux && vm

package activate_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// children are the programs that a command starts, and those that they start:
// the kernel tells of each exec.
func children(t *testing.T, v *vmtest.VM, command string) []string {
	t.Helper()
	const tracing = "/sys/kernel/tracing"
	v.Must(short, "mountpoint -q "+tracing+" || mount -t tracefs tracefs "+tracing+`
cd `+tracing+` && echo 0 >tracing_on && echo >trace && echo 1 >options/event-fork && echo 1 >events/sched/sched_process_exec/enable && echo 1 >tracing_on`)
	v.Must(long, "sh -c 'echo $$ >"+tracing+"/set_event_pid; exec "+command+"'")
	out := v.Must(short, "cd "+tracing+" && echo 0 >tracing_on; cat trace; echo >set_event_pid; echo 0 >events/enable")
	var programs []string
	for line := range strings.Lines(out) {
		if _, name, ok := strings.Cut(line, "filename="); ok {
			name, _, _ = strings.Cut(name, " ")
			programs = append(programs, name)
		}
	}
	// The shell, what starts the command, and the command itself.
	i := slices.IndexFunc(programs, func(name string) bool { return strings.HasSuffix(name, "/beadm") })
	if i < 0 {
		t.Fatalf("the kernel did not tell what %s started:\n%s", command, out)
	}
	return programs[i+1:]
}

// tell adds a line to the file that BEADM_BENCH names, if it does.
func tell(t *testing.T, line map[string]any) {
	t.Helper()
	text, err := json.Marshal(line)
	must(t, err)
	t.Logf("%s", text)
	if file := os.Getenv("BEADM_BENCH"); file != "" {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		must(t, err)
		defer f.Close()
		_, err = f.Write(append(text, '\n'))
		must(t, err)
	}
}

// TestVMTime: what an activation costs on ZFS, in programs started and in
// seconds beside a plain reboot.
func TestVMTime(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: it takes long; make test-long and make bench run it")
	}
	d := vmtest.NewDisk(t, vmtest.ZFS)
	v := ready(t, d, program(t))
	v.Must(long, "beadm share init --stop-all; beadm create new")
	// What runs is ready for its next boot, and the counts are of nothing else.
	for _, c := range []struct {
		name, command string
		bound         int
	}{
		// The first process, as it is at a boot. Mounting asks ZFS once.
		{"beadm boot", "unshare --pid --fork beadm boot", 1},
		{"beadm activate", "beadm activate new", 12},
	} {
		programs := children(t, v, c.command)
		if len(programs) > c.bound {
			t.Errorf("%s starts %d programs: %q", c.command, len(programs), programs)
		}
		tell(t, map[string]any{"name": c.name + ", on ZFS", "children": len(programs), "bound_children": c.bound, "ok": len(programs) <= c.bound})
	}
	v.Must(long, "beadm activate -T")

	restart := func(wants string) float64 {
		t.Helper()
		mark, began := v.Mark(), time.Now()
		v.Send("systemctl reboot")
		mark = v.WaitFor(mark, d.Firmware(), long)
		v.WaitFor(mark, "Booting `"+wants+"'", long)
		v.WaitShell(long)
		took := time.Since(began).Seconds()
		v.Must(short, "findmnt /boot/beadm >/dev/null || mount /boot/beadm")
		return took
	}
	const pairs = 5
	var plain, trial, ratios []float64
	for range pairs {
		was := restart("debian")
		began := time.Now()
		v.Must(long, "beadm activate new")
		is := time.Since(began).Seconds() + restart("new")
		plain, trial, ratios = append(plain, was), append(trial, is), append(ratios, is/was)
		v.Must(long, "beadm rollback")
		restart("debian")
	}
	for _, list := range [][]float64{plain, trial, ratios} {
		slices.Sort(list)
	}
	ratio, bound := ratios[pairs/2], 2.0
	if ratio > bound {
		t.Errorf("activate and the reboot into the trial take %.1f times a plain reboot", ratio)
	}
	tell(t, map[string]any{
		"name": "activate and the reboot into the trial, on ZFS", "baseline": "a plain reboot", "pairs": pairs,
		"seconds": trial[pairs/2], "baseline_seconds": plain[pairs/2], "ratio": ratio, "ratio_spread": []float64{ratios[0], ratios[pairs-1]},
		"bound_ratio": bound, "ok": ratio <= bound,
	})
}
