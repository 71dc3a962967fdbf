package partition

import "testing"

func TestVolumeOf(t *testing.T) {
	for name, want := range map[string]string{
		"vg0-boot": "vg0/boot", "my--vg-a--b": "my-vg/a-b", "a---b": "a-/b",
		"vg0-pool-tpool": "", "vg0": "", "-x": "", "x-": "",
	} {
		if got := volumeOf(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	if got := Below(t.TempDir()); got != "" {
		t.Errorf("a directory here needs %q", got)
	}
}
