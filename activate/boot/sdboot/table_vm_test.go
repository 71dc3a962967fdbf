package sdboot

import (
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/loadertest"
)

// newRealWorld has kernels that a machine can start.
func newRealWorld(t *testing.T) *world {
	w := newWorld(t)
	w.image = teller
	return w
}

// TestVMTable runs the truth table on real systemd-boot, with the bytes and
// variables that Install, Put and Arm wrote, and each machine twice.
func TestVMTable(t *testing.T) {
	needVM(t)
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := newRealWorld(t)
			w.lay(r)
			m := build(t, w)
			for _, key := range []string{"boots", "next"} {
				options, console := m.power(t)
				if !r.right(key, playedOptions(options), options) {
					t.Errorf("%s: %q, want %q\n%s", key, options, r.field[key], console)
				}
				if v := m.variable(t, efivar.OneShot); v != nil {
					t.Errorf("the token is still there: %q", v)
				}
			}
		})
	}
}

// TestVMArguments holds the kernel's command line against the entry, and a
// menu with every hostile title against the order of things.
func TestVMArguments(t *testing.T) {
	needVM(t)
	t.Parallel()
	w := newRealWorld(t)
	l := w.ready("a", "b")
	for i, title := range loadertest.HostileTitles {
		e := loadertest.Entry("a", title)
		e.ID = "bffffffff" + "00" + string("0123456789abcdef"[i/16]) + string("0123456789abcdef"[i%16])
		if err := l.Put(t.Context(), w.in(e)); err != nil {
			t.Fatal(err)
		}
	}
	e := loadertest.Entry("a", loadertest.ID("b"))
	e.Args = []string{"quiet", "a=$prefix", `b={"x,y"};z&|`, "c=#1", "d=*?[x]", "e=~!%^()", "console=ttyS0,115200n8", `f='\n'`}
	if err := l.Put(t.Context(), w.in(e)); err != nil {
		t.Fatal(err)
	}
	if err := l.Arm(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	m := build(t, w)
	base := append(append(e.Root.Args, e.Args...), boot.ArgBE+"="+e.ID)
	for _, want := range [][]string{append(append(base[:len(base):len(base)], boot.ArgTrial+"=1", boot.ArgKeepLoader), e.TrialArgs...), base} {
		options, console := m.power(t)
		// systemd-boot puts the initrd's path before what it was given.
		if got, ok := strings.CutPrefix(options, `initrd=\beadm\kernels\initrd-`); !ok || len(got) < 32 || got[32:] != " "+strings.Join(want, " ") {
			t.Errorf("the kernel is given %q, want %q\n%s", options, want, console)
		}
	}
}
