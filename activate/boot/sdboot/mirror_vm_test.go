package sdboot

import (
	"os"
	"path/filepath"
	"testing"

	"beadm/activate/boot/durable"
	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/mirror"
	"beadm/activate/boot/sdboot/simsdboot"
)

// TestVMTwoDisks has real systemd-boot on two disks: armed while both are there,
// then started from the second alone. It takes the token and runs the trial,
// and then the default, as the first does when it is back.
func TestVMTwoDisks(t *testing.T) {
	needVM(t)
	t.Parallel()
	w := newRealWorld(t)
	w2 := newRealWorld(t)
	names := [2]string{simsdboot.PartUUID, "beadbead-0000-4000-8000-000000000002"}
	var members []mirror.Member
	for i, esp := range []string{w.esp, w2.esp} {
		w.write(esp, "EFI/systemd/systemd-bootx64.efi", "to be replaced")
		l := New(Config{Dir: esp, Variables: w.vars, OneOf: true, PartUUID: func(string) (string, error) { return names[i], nil },
			Disk: durable.Disk{Settle: atOnce}})
		members = append(members, mirror.Member{Name: names[i], Copy: l, Started: i == 0})
	}
	l, err := mirror.New(t.Context(), mirror.Config{Members: members, SharedToken: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		l.Install(t.Context(), w.in(loadertest.Entry("a", "A"))), l.Put(t.Context(), w.in(loadertest.Entry("b", "B"))),
		l.Arm(t.Context(), loadertest.ID("b")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, esp := range []string{w.esp, w2.esp} {
		if err := os.RemoveAll(esp + "/EFI"); err != nil {
			t.Fatal(err)
		}
	}
	both := build(t, w)
	w2.vars = w.vars
	alone := build(t, w2)
	command(t, "sgdisk", "-u1:"+names[1], alone.disk)
	// The variables are one machine's.
	beside := func(dir, file string) string {
		link := filepath.Join(filepath.Dir(dir), "other-"+filepath.Base(file))
		if err := os.Symlink(file, link); err != nil {
			t.Fatal(err)
		}
		return link
	}
	alone.vars = beside(alone.disk, both.vars)
	alone.start(t, loadertest.Played{ID: loadertest.ID("b"), Trial: true})
	alone.start(t, loadertest.Played{ID: loadertest.ID("a")})
	both.second = beside(both.disk, alone.disk)
	both.start(t, loadertest.Played{ID: loadertest.ID("a")})
}

func (m machine) start(t *testing.T, want loadertest.Played) {
	t.Helper()
	if options, console := m.power(t); playedOptions(options) != want {
		t.Errorf("started with %q, want %+v\n%s", options, want, console)
	}
}
