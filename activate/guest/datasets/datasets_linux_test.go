package datasets

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"

	"beadm/activate/guest"
	"beadm/be"
)

func place(t *testing.T, kept string) guest.Place {
	t.Helper()
	p := guest.Place{Root: filepath.Join(t.TempDir(), "web1")}
	if err := os.MkdirAll(p.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Dir(), guest.Record), []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRecord(t *testing.T) {
	p := place(t, `{"dataset":"tank/m/web1","at":"/m/web1"}`)
	d := For(p, "nspawn", nil)
	if err := d.CanAdopt(p); err != nil {
		t.Error(err)
	}
	if name := d.Directory(be.RootRef{Prefix: "/m/.beadm/web1/ROOT/new@"}); name != "@be-new" {
		t.Errorf("its entry names %s", name)
	}
	for _, c := range []struct {
		fs, source   string
		shared, part bool
	}{
		{"zfs", "tank/m/.beadm/web1/VARSHARE", true, false},
		{"zfs", "tank/m/.beadm/web1/ROOT/new/srv", false, true},
		{"zfs", "tank/m/.beadm/web10/ROOT/new", false, false},
		{"zfs", "tank/data", false, false},
		{"tmpfs", "tank/m/.beadm/web1/ROOT/new", false, false},
	} {
		shared, part := d.Belongs(p, &mountinfo.Info{FSType: c.fs, Source: c.source})
		if shared != c.shared || part != c.part {
			t.Errorf("%+v: %v, %v", c, shared, part)
		}
	}
	if For(guest.Place{Root: "/proc"}, "nspawn", nil) != nil {
		t.Error("a directory that is not on ZFS")
	}
}

// One that cannot be read is an error wherever it is needed, and nothing is done.
func TestRecordThatIsNotWhole(t *testing.T) {
	for _, text := range []string{"", "{}", `{"dataset":"web1","at":"/m"}`, `{"dataset":"tank/web1"}`, "tank/web1"} {
		p := place(t, text)
		d := For(p, "nspawn", nil)
		_, open := d.Open(t.Context(), p)
		for what, err := range map[string]error{"adopt": d.CanAdopt(p), "take in": d.TakeIn(p, "x"), "give out": d.GiveOut(p), "open": open, "attach": d.Attach(p, "@be-x"), "detach": d.Detach(p, "@be-x")} {
			if be.KindOf(err) != be.Recovery {
				t.Errorf("%q: %s: %v", text, what, err)
			}
		}
	}
}

// Between the two steps of Exchange there is nothing where the root was.
func TestMend(t *testing.T) {
	p := place(t, `{"dataset":"tank/m/web1","at":"/m/web1"}`)
	left := filepath.Join(p.Dir(), guest.RootPrefix+"default")
	if err := os.Symlink("nowhere", left); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(p.Root)
	if err := Mend(dir, func(name string) bool { return name == "other" }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(p.Root); err == nil {
		t.Error("one was mended that nobody asked for")
	}
	for range 2 {
		if err := Mend(dir, func(name string) bool { return name == "web1" }); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(p.Root); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if _, err := os.Lstat(left); err == nil {
		t.Error("what was cut is there still")
	}
}
