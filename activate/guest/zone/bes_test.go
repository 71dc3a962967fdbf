package zone

import (
	"reflect"
	"slices"
	"testing"

	"beadm/activate/guest"
	"beadm/be"
)

func TestKept(t *testing.T) {
	m, r := newMachine(t)
	for name, c := range map[string]struct {
		want guest.Kept
		says string
	}{
		"web1": {guest.Kept{Starts: "zbe-1", Idle: []string{"zbe-2"}, Others: []string{"zbe", "zbe-3"}}, ""},
		"web2": {guest.Kept{Others: []string{"solaris-0"}}, "cannot tell what the zone web2 is started from: none of its boot environments is active for the host's running one"},
		"db1":  {guest.Kept{}, "cannot tell what the zone db1 is started from: several boot environments are active for the host's running one: zbe, zbe-1"},
		"lin1": {guest.Kept{}, ""},
	} {
		got, err := r.Kept(t.Context(), guest.Guest{Name: name})
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, not %+v", name, got, c.want)
		}
		if c.says == "" && err != nil || c.says != "" && (be.KindOf(err) != be.Unbootable || err.Error() != c.says) {
			t.Errorf("%s: it says %v, not %q", name, err, c.says)
		}
	}
	// Without a UUID of the host nothing is guessed.
	m.uuid = "-"
	if k, err := r.Kept(t.Context(), guest.Guest{Name: "web1"}); err == nil || k.Starts != "" {
		t.Errorf("no UUID: %+v, %v", k, err)
	}
	if len(m.calls) != 0 {
		t.Errorf("calls: %q", m.calls)
	}
}

// Which one starts turns with the host's boot environment.
func TestDecide(t *testing.T) {
	list := []zoneBE{{"zbe", "A-1", true}, {"zbe-1", "b-2", true}, {"zbe-2", "", true}, {"zbe-3", "opensolaris", false}}
	for host, want := range map[string]string{"a-1": "zbe", "B-2": "zbe-1", "c-3": "", "opensolaris": ""} {
		k, err := decide(list, host)
		if k.Starts != want || (err == nil) != (want != "") {
			t.Errorf("%q: %+v, %v", host, k, err)
		}
	}
	if k, err := decide(nil, "a-1"); err != nil || !reflect.DeepEqual(k, guest.Kept{}) {
		t.Errorf("none: %+v, %v", k, err)
	}
}

func TestParseDatasets(t *testing.T) {
	for _, text := range []string{"rpool\n", "rpool\t-\n", "\t-\t-\n", "-r\t-\t-\n", "a\tb\tc\td\n", "\n"} {
		if got, err := parseDatasets(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
	got, err := parseDatasets("a b\tu\ton\n")
	if want := []dataset{{"a b", "u", "on"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, not %v, %v", got, want, err)
	}
}

// What a guest adds to mnttab is behind what the host has mounted.
func TestMountedOn(t *testing.T) {
	mnttab := "a\t/x\tzfs\trw\t1\nswap\t/y\ttmpfs\trw\t2\nswap\t/x/root/tmp/\nb\t/x\tzfs\trw\t3\ttmpfs\trw\t4\nb\t/x\tzfs\trw\t5\n-r\t/z\tzfs\trw\t6\n"
	for dir, want := range map[string]string{"/x": "a", "/y": "", "/z": "", "/none": ""} {
		if got := mountedOn(mnttab, dir); got != want {
			t.Errorf("%s is %q, not %q", dir, got, want)
		}
	}
}
