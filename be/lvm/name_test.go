package lvm

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"beadm/be"
)

func TestNamesThereAndBack(t *testing.T) {
	for name, want := range map[string]string{
		"debian":     "be_debian",
		"12.1-a_b":   "be_12.1-a_b",
		"2026:01+x":  "be_2026+3a01+2bx",
		"my_tmeta":   "be_my_+74meta",
		"tdata":      "be_+74data",
		"a_tdata_mk": "be_a_+74data_mk",
	} {
		if got := encode(name); got != want {
			t.Errorf("encode(%s) is %s, want %s", name, got, want)
		}
		if got := decode(encode(name)); got != name {
			t.Errorf("%s came back as %s", name, got)
		}
	}
	for volume, want := range map[string]string{"root": "root", "be_root": "root", "be_a+3ab": "a:b", "be_a+zz": "be_a+zz", "be_a+3": "be_a+3", "be_+2fetc": "be_+2fetc", "_x": "", "+x": ""} {
		if got := decode(volume); got != want {
			t.Errorf("decode(%s) is %q, want %q", volume, got, want)
		}
	}
}

// TestNamesOfLVM: whatever a boot environment is called, LVM takes the name of
// its volume, and it comes back.
func TestNamesOfLVM(t *testing.T) {
	allowed := regexp.MustCompile(`^[A-Za-z0-9+_.][A-Za-z0-9+_.-]*$`)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(
			rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}`),
			rapid.Custom(func(t *rapid.T) string {
				return "t" + rapid.SampledFrom(reserved).Draw(t, "reserved") + rapid.StringMatching(`[a-z_+]{0,9}`).Draw(t, "rest")
			}),
			rapid.Custom(func(t *rapid.T) string {
				return strings.TrimPrefix(rapid.SampledFrom(reserved).Draw(t, "reserved"), "_")
			}),
		).Draw(t, "name")
		if be.CheckName(name) != nil {
			t.Skip()
		}
		volume := encode(name)
		if !allowed.MatchString(volume) || decode(volume) != name {
			t.Fatalf("%s is %s, which is %s", name, volume, decode(volume))
		}
		for _, r := range reserved {
			if strings.Contains(volume, r) {
				t.Fatalf("%s is %s, and %s is reserved", name, volume, r)
			}
		}
	})
}

func TestDeviceNames(t *testing.T) {
	for _, c := range []struct{ vg, volume, device string }{
		{"vg", "root", "vg-root"},
		{"my-vg", "be_a-b", "my--vg-be_a--b"},
		{"v--g", "x-", "v----g-x--"},
	} {
		if got := deviceName(c.vg, c.volume); got != c.device {
			t.Errorf("%s/%s is %s, want %s", c.vg, c.volume, got, c.device)
		}
		if got := groupOf(c.device); got != c.vg {
			t.Errorf("the group of %s is %s", c.device, got)
		}
	}
	if got := groupOf("crypt"); got != "" {
		t.Errorf("the group of crypt is %s", got)
	}
	if err := checkVolumeName("vg", encode(strings.Repeat("a-", 32))); err != nil {
		t.Error(err)
	}
	if err := checkVolumeName("a-long-name-of-a-group", encode("a"+strings.Repeat("-", 63))); be.KindOf(err) != be.Usage {
		t.Errorf("a name that no device can have: %v", err)
	}
}

func TestPoolNames(t *testing.T) {
	for location, want := range map[string]bool{"vg/pool": true, "a-b/c+d": true, "vg": false, "-vg/pool": false, "vg/-pool": false, "vg/a/b": false, "/pool": false, "vg/": false, "": false, "v g/p": false} {
		if _, _, ok := splitPool(location); ok != want {
			t.Errorf("%q is a pool: %v", location, ok)
		}
	}
}
