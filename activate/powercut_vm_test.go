//go:build linux && vm

package activate_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// moment is when the power is cut: within spread after the console said so.
type moment struct {
	name    string
	says    string
	spread  time.Duration
	outcome []string // the boot environments that may run then
	full    bool     // with a whole Debian in the new one
	back    bool     // first once before, so that it is the old system's boot that is cut
}

var moments = []moment{
	{name: "loader takes the token", says: "SeaBIOS", spread: 3 * time.Second, outcome: []string{"debian", "new"}},
	{name: "loader reads the kernel", says: "Booting `new'", spread: 4 * time.Second, outcome: []string{"debian"}},
	{name: "kernel", says: "Linux version", spread: 2 * time.Second, outcome: []string{"debian"}},
	{name: "initramfs", says: "tiny: initramfs", spread: time.Second, outcome: []string{"debian"}},
	{name: "boot", says: "tiny: root mounted", spread: 2 * time.Second, outcome: []string{"debian", "new"}},
	{name: "confirm", says: "services run", spread: 1500 * time.Millisecond, outcome: []string{"debian", "new"}},
	{name: "after the confirmation", says: "it is confirmed", spread: time.Second, outcome: []string{"new"}},
	{name: "boot of the old system", says: "tiny: root mounted", spread: 2 * time.Second, outcome: []string{"debian"}, back: true},
}

// confirming is a trial of a whole Debian whose checks hold for some seconds
// before it confirms itself.
var confirming = moment{name: "confirm, whole Debian", says: "the check runs", spread: 9 * time.Second, outcome: []string{"debian", "new"}, full: true}

// powerCuts cuts the power of a trial at each of its moments, early or late
// in it, and looks at what comes up. BEADM_SEED repeats the same delays.
func powerCuts(t *testing.T, base *vmtest.Disk) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("BEADM_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		seed = n
	}
	random := rand.New(rand.NewPCG(seed, 0))
	rounds, whole := 1, 1
	if os.Getenv("BEADM_LONG") != "" {
		rounds, whole = 7, 5
	} else {
		t.Run("52 more power cuts", func(t *testing.T) { t.Skip("NOT RUN: they take long; make test-long runs them") })
	}
	var mu sync.Mutex
	ran := map[string]int{}
	cut := func(m moment, n int) {
		after := time.Duration(random.Int64N(int64(m.spread)))
		t.Run(fmt.Sprintf("power cut/%s/%d", m.name, n), func(t *testing.T) {
			t.Parallel()
			name := m.run(t, base, after)
			mu.Lock()
			ran[m.name+", then "+name+" runs"]++
			mu.Unlock()
		})
	}
	for n := range rounds {
		for _, m := range moments {
			cut(m, n)
		}
	}
	for n := range whole {
		cut(confirming, n)
	}
	t.Cleanup(func() {
		t.Logf("power cuts with BEADM_SEED=%d:", seed)
		for _, m := range append(moments, confirming) {
			for _, name := range []string{"debian", "new"} {
				if n := ran[m.name+", then "+name+" runs"]; n != 0 {
					t.Logf("%3d  %s, then %s runs", n, m.name, name)
				}
			}
		}
	})
}

func (m moment) run(t *testing.T, base *vmtest.Disk, after time.Duration) (runs string) {
	d := base.Clone(t)
	d.Edit(func(top string) {
		if m.full {
			withCheck("echo the check runs >/dev/console")(t, d, top)
			return
		}
		newInit("echo services run >/dev/console; beadm confirm && echo it is confirmed >/dev/console; exec /usr/local/sbin/test-shell")(t, d, top)
	})
	v := d.Boot(vmtest.Options{})
	if m.back {
		v.CutAt(0, "beadm: trial of new", long)
		v = d.Boot(vmtest.Options{})
	}
	v.WaitFor(0, m.says, long)
	time.Sleep(after)
	v.Cut()
	t.Logf("cut %.1f s after %q", after.Seconds(), m.says)

	v = d.Boot(vmtest.Options{})
	v.WaitShell(long)
	limit := time.Now().Add(2 * time.Minute)
	out := v.Must(short, "beadm status")
	for strings.Contains(out, "state:    trying") && time.Now().Before(limit) {
		time.Sleep(time.Second)
		out = v.Must(short, "beadm status")
	}
	root := v.Must(short, "findmnt -no SOURCE /")
	for _, name := range m.outcome {
		if strings.Contains(root, map[string]string{"debian": "[/" + oldRoot + "]", "new": "[/" + newRoot + "]"}[name]) {
			runs = name
		}
	}
	switch runs {
	case "":
		t.Errorf("%s runs and should not:\n%s", root, out)
	case "debian":
		contains(t, "status", out, "state:    failed", "FAILED:   the trial of new at ", "running:  debian", "default:  debian")
	case "new":
		contains(t, "status", out, "state:    idle", "running:  new", "default:  new", "previous: debian")
	}
	contains(t, "what was locked", v.Must(short, "passwd -S alice"), "alice L")
	if out := v.Must(short, "beadm recover; beadm status"); strings.Contains(out, "OPEN") || strings.Contains(out, "OWED") {
		t.Errorf("something is left open:\n%s", out)
	}
	return runs
}
