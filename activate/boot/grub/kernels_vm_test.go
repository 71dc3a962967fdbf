package grub

import (
	"strings"
	"testing"

	"beadm/activate/boot/loadertest"
)

// TestVMKernelsOnThePartition lets real GRUB find and start kernels beside its
// configuration, of roots that it cannot read: trial, default, and the default
// again where the trial's kernel is gone.
func TestVMKernelsOnThePartition(t *testing.T) {
	needVM(t)
	t.Parallel()
	a, b := loadertest.ID("a"), loadertest.ID("b")
	// The console breaks lines, also at a blank.
	started := func(text string) (id string, trial bool, line string) {
		text = strings.NewReplacer("\r", "", "\n", "").Replace(text)
		at := strings.LastIndex(text, "KERNEL ")
		if at < 0 || !strings.Contains(text[at:], "LOADED (hd0,msdos1)/beadm/kernels/initrd-") {
			return "", false, ""
		}
		line = text[at+len("KERNEL "):]
		_, id, _ = strings.Cut(text[at:], "beadm.be=")
		if len(id) > len(a) {
			id = id[:len(a)]
		}
		return id, strings.Contains(text[at:], "beadm.trial=1"), line
	}
	for _, lost := range []bool{false, true} {
		w := newWorld(t)
		l := w.ready("a", "b", "c")
		if err := l.Arm(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		kernelOf := func(id string) string {
			text, err := l.readEntry(id)
			if err != nil {
				t.Fatal(err)
			}
			return named(text)[0]
		}
		m := build(t, w.dir)
		wants := []string{b, a}
		if lost {
			command(t, "mdel", "-i", m.fat(), "::/beadm/kernels/"+kernelOf(b))
			wants = []string{a}
		}
		for _, want := range wants {
			text := m.power(t)
			id, trial, line := started(text)
			if id != want || trial != (want == b) || !strings.HasPrefix(line, "(hd0,msdos1)/beadm/kernels/"+kernelOf(want)) {
				t.Errorf("lost %v: starts %q of %q, trial %v, want %q\n%s", lost, line, id, trial, want, text)
			}
			if lost && strings.Count(text, "GRUB loading") != 2 {
				t.Errorf("a trial without its kernel did not reset the machine\n%s", text)
			}
		}
	}
}
