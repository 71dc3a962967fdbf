package grub

import (
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/mirror"
)

// TestVMTwoDisks has real GRUB on two disks, the second a copy of the first
// as dd makes it: armed on the first, started from the second alone, which runs
// the default; then from the first, which runs the trial, once.
func TestVMTwoDisks(t *testing.T) {
	needVM(t)
	t.Parallel()
	row := loadertest.Rows()[0]
	dirs := [2]string{t.TempDir(), t.TempDir()}
	names := [2]string{"11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"}
	var members []mirror.Member
	for i, dir := range dirs {
		lay(t, dir, row)
		cfg := testConfig(dir, nil)
		cfg.Self, cfg.Timeout = names[i], -1
		members = append(members, mirror.Member{Name: names[i], Copy: New(cfg)})
	}
	l, err := mirror.New(t.Context(), mirror.Config{Members: members})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		l.Install(t.Context(), loadertest.Entry("a", "A")), l.Put(t.Context(), loadertest.Entry("a", "A")),
		l.Put(t.Context(), loadertest.Entry("b", "B")), l.Arm(t.Context(), loadertest.ID("b")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	first, second := build(t, dirs[0]), build(t, dirs[1])
	start := func(m *machine, name string, want loadertest.Played) {
		t.Helper()
		text := m.power(t)
		if played(text) != want {
			t.Errorf("want %+v\n%s", want, text)
		}
		if flat := strings.NewReplacer("\r", "", "\n", "").Replace(text); !strings.Contains(flat, boot.ArgLoader+"="+name) {
			t.Errorf("the kernel is not told that it was started from %s\n%s", name, text)
		}
	}
	start(second, names[1], loadertest.Played{ID: loadertest.ID("a")})
	first.second = second
	start(first, names[0], loadertest.Played{ID: loadertest.ID("b"), Trial: true})
	start(first, names[0], loadertest.Played{ID: loadertest.ID("a")})
	start(second, names[1], loadertest.Played{ID: loadertest.ID("a")})
}
