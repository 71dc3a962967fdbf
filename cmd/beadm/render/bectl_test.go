package render

import (
	"strings"
	"testing"
	"time"

	"beadm/activate"
	"beadm/be"
)

// constructed is two boot environments of a ZFS pool: one cloned from a snapshot
// of the other.
func constructed(t *testing.T) []activate.Listed {
	t.Helper()
	time.Local = time.UTC
	at := func(s string) time.Time {
		when, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	first := activate.Listed{Next: false, BE: be.BE{
		Name: "default", UUID: "215b8387-4968-627c-d2d0-f4a011414bab", Policy: "static", Location: "zroot/ROOT/default",
		Created: at("2026-01-02 03:04"), Space: 1288490188, Mountpoint: "/", Running: true,
	}}
	first.Parts = []be.Part{
		{Location: "zroot/ROOT/default", Path: "/", Mountpoint: "/", Space: 1288490188 - 1<<20, Created: first.Created},
		{Location: "zroot/ROOT/default/usr", Path: "/usr", Mountpoint: "/usr", Space: 1 << 20, Created: first.Created},
	}
	first.Snapshots = []be.Snapshot{
		{BE: "default", Name: "2026-02-03-04:05:06", GUID: "1", Created: at("2026-02-03 04:05"), Space: 84 << 10},
		{BE: "default", Name: "by-hand", GUID: "2", Created: at("2026-02-04 00:00"), Space: -1},
	}
	second := activate.Listed{Next: true, Trial: true, Once: true, BE: be.BE{
		Name: "patched", Policy: "static", Location: "zroot/ROOT/patched", Created: at("2026-02-03 04:06"),
		Space: 8192 + 84<<10, Origin: "default@2026-02-03-04:05:06",
	}}
	second.Parts = []be.Part{{Location: "zroot/ROOT/patched", Path: "/", Space: 8192, Created: second.Created, Origin: "zroot/ROOT/default@2026-02-03-04:05:06"}}
	return []activate.Listed{first, second}
}

// The layouts are those of sbin/bectl/bectl_list.c of FreeBSD, reckoned by hand.
func TestBectlList(t *testing.T) {
	for name, c := range map[string]struct {
		o    BectlOptions
		want string
	}{
		"list": {BectlOptions{}, "" +
			"BE      Active Mountpoint Space Created\n" +
			"default N      /          1.20G 2026-01-02 03:04\n" +
			"patched RT     -          92K   2026-02-03 04:06\n"},
		"list -H": {BectlOptions{Script: true}, "" +
			"default\tN\t/\t1.20G\t2026-01-02 03:04\n" +
			"patched\tRT\t-\t92K\t2026-02-03 04:06\n"},
		"list -D": {BectlOptions{OriginSpace: true}, "" +
			"BE      Active Mountpoint Space Created\n" +
			"default N      /          1.20G 2026-01-02 03:04\n" +
			"patched RT     -          1.20G 2026-02-03 04:06\n"},
		"list -a": {BectlOptions{All: true}, "" +
			"BE/Dataset/Snapshot                        Active Mountpoint Space Created\n\n" +
			"default\n" +
			"  zroot/ROOT/default                       N      /          1.20G 2026-01-02 03:04\n" +
			"\n" +
			"patched\n" +
			"  zroot/ROOT/patched                       RT     -          8K    2026-02-03 04:06\n" +
			"    zroot/ROOT/default@2026-02-03-04:05:06 -      -          84K   2026-02-03 04:05\n"},
		"list -s": {BectlOptions{Snapshots: true}, "" +
			"BE/Dataset/Snapshot                        Active Mountpoint Space Created\n\n" +
			"default\n" +
			"  zroot/ROOT/default                       N      /          1.20G 2026-01-02 03:04\n" +
			"  default@2026-02-03-04:05:06              -      -          84K   2026-02-03 04:05\n" +
			"  default@by-hand                          -      -          -     2026-02-04 00:00\n" +
			"\n" +
			"patched\n" +
			"  zroot/ROOT/patched                       RT     -          8K    2026-02-03 04:06\n" +
			"    zroot/ROOT/default@2026-02-03-04:05:06 -      -          84K   2026-02-03 04:05\n"},
		"list -sH": {BectlOptions{Snapshots: true, Script: true}, "" +
			"default\n" +
			"  zroot/ROOT/default\tN\t/\t1.20G\t2026-01-02 03:04\n" +
			"  default@2026-02-03-04:05:06\t-\t-\t84K\t2026-02-03 04:05\n" +
			"  default@by-hand\t-\t-\t-\t2026-02-04 00:00\n" +
			"\n" +
			"patched\n" +
			"  zroot/ROOT/patched\tRT\t-\t8K\t2026-02-03 04:06\n" +
			"    zroot/ROOT/default@2026-02-03-04:05:06\t-\t-\t84K\t2026-02-03 04:05\n"},
	} {
		var out strings.Builder
		if err := Bectl(&out, constructed(t), c.o); err != nil || out.String() != c.want {
			t.Errorf("%s (%v):\n%s\nnot\n%s", name, err, out.String(), c.want)
		}
	}
}

// The fields of -H are those of illumos' beadm.c, where what is not known is
// empty; the table is its too.
func TestIllumosList(t *testing.T) {
	list := constructed(t)
	for name, c := range map[string]struct {
		write func(w *strings.Builder) error
		want  string
	}{
		"-H": {func(w *strings.Builder) error { return ListFields(w, list, "illumos") }, "" +
			"default;215b8387-4968-627c-d2d0-f4a011414bab;N;/;1288490188;static;1767323040\n" +
			"patched;;RT;;94208;static;1770091560\n"},
		"-dH": {func(w *strings.Builder) error { return ListDetailFields(w, list, "illumos", true, false) }, "" +
			"default;zroot/ROOT/default;N;/;1287441612;static;1767323040\n" +
			"default;zroot/ROOT/default/usr;;/usr;1048576;static;1767323040\n" +
			"patched;zroot/ROOT/patched;RT;;8192;static;1770091560\n"},
		"-sH": {func(w *strings.Builder) error { return ListDetailFields(w, list, "illumos", false, true) }, "" +
			"default;default@2026-02-03-04:05:06;;;86016;static;1770091500\n" +
			"default;default@by-hand;;;;static;1770163200\n"},
		"-ds": {func(w *strings.Builder) error { return ListDetailText(w, list, true, true) }, "" +
			"BE/Dataset/Snapshot                       Active Mountpoint Space Policy Created\n" +
			"default\n" +
			"   zroot/ROOT/default                     N      /          1.20G static 2026-01-02 03:04\n" +
			"   zroot/ROOT/default/usr                 -      /usr       1.00M static 2026-01-02 03:04\n" +
			"   zroot/ROOT/default@2026-02-03-04:05:06 -      -          84.0K static 2026-02-03 04:05\n" +
			"   zroot/ROOT/default@by-hand             -      -          -     static 2026-02-04 00:00\n" +
			"patched\n" +
			"   zroot/ROOT/patched                     RT     -          8.00K static 2026-02-03 04:06\n"},
		"-s": {func(w *strings.Builder) error { return ListDetailText(w, list, false, true) }, "" +
			"BE/Snapshot                    Space Policy Created\n" +
			"default\n" +
			"   default@2026-02-03-04:05:06 84.0K static 2026-02-03 04:05\n" +
			"   default@by-hand             -     static 2026-02-04 00:00\n" +
			"patched\n"},
	} {
		var out strings.Builder
		if err := c.write(&out); err != nil || out.String() != c.want {
			t.Errorf("%s (%v):\n%s\nnot\n%s", name, err, out.String(), c.want)
		}
	}
}

func TestSortBectl(t *testing.T) {
	for property, want := range map[string]string{
		"name": "default patched", "creation": "default patched", "origin": "default patched",
		"used": "patched default", "usedds": "patched default", "usedsnap": "patched default", "usedrefreserv": "default patched",
	} {
		for _, descending := range []bool{false, true} {
			list := constructed(t)
			if err := SortBectl(list, property, descending); err != nil {
				t.Fatal(err)
			}
			got := list[0].Name + " " + list[1].Name
			if (got == want) == descending {
				t.Errorf("by %s, descending %v: %s", property, descending, got)
			}
		}
	}
	if err := SortBectl(nil, "nosuch", false); be.KindOf(err) != be.Usage {
		t.Error(err)
	}
}

func TestNicenum(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1023: "1023", 1024: "1K", 1536: "1.50K", 10240: "10K", 12345: "12.1K", 123456: "121K",
		1<<20 - 1: "1024K", 1 << 30: "1G", 5 << 40: "5T", 1<<40 + 1<<39: "1.50T", -1: "-",
	} {
		if got := nicenum(n); got != want {
			t.Errorf("%d: %s, not %s", n, got, want)
		}
	}
}
