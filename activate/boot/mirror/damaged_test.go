package mirror_test

import (
	"os"
	"path/filepath"
	"testing"

	"beadm/activate/boot/loadertest"
)

// TestDamagedKernelOnMirror damages the kernel that a mirror's default is to
// be: the primary's is whole, and Mend brings it.
func TestDamagedKernelOnMirror(t *testing.T) {
	d := newDisks(t, true) // GRUB here reads kernels from the root
	l := d.installed("a", "b")
	list, err := filepath.Glob(filepath.Join(d.dirs[1], "beadm", "kernels", "linux-*"))
	d.ok(err)
	damaged := 0
	for _, f := range list {
		b, err := os.ReadFile(f)
		d.ok(err)
		if string(b) == "MZ kernel of "+idB {
			b[5] ^= 1
			d.ok(os.WriteFile(f, b, 0o644))
			damaged++
		}
	}
	if damaged != 1 {
		t.Fatalf("damaged %d of %v", damaged, list)
	}
	d.ok(l.SetDefault(t.Context(), idB))
	d.trouble = nil
	d.ready()
	d.calm()
	if got := d.plays(1); got != (loadertest.Played{ID: idB}) {
		t.Errorf("disk 2 boots %+v", got)
	}
}
