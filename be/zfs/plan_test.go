package zfs

import (
	"fmt"
	"strings"
	"testing"

	"beadm/be"
)

// grow makes a constructed tree of "NAME [prop=value]…" lines; all other
// properties are as a plain file system or snapshot has them.
func grow(t *testing.T, lines ...string) *tree {
	t.Helper()
	return growIn(t, "p/ROOT", lines...)
}

func growIn(t *testing.T, top string, lines ...string) *tree {
	t.Helper()
	var out strings.Builder
	for i, line := range lines {
		f := strings.Fields(line)
		props := map[string]string{
			"type": "filesystem", "guid": fmt.Sprint(1000 + i), "creation": "1700000000", "createtxg": fmt.Sprint(10 + i),
			"used": "4096", "usedbydataset": "4096", "written": "1024", "origin": "-", "clones": "-", "userrefs": "-",
			"mountpoint": "/", "canmount": "noauto", "readonly": "off",
		}
		if strings.Contains(f[0], "@") {
			props["type"], props["clones"], props["userrefs"] = "snapshot", "", "0"
		}
		for _, p := range f[1:] {
			name, value, _ := strings.Cut(p, "=")
			props[name] = value
		}
		for _, p := range scanned {
			value, source := props[p], "local"
			if value == "" && strings.Contains(p, ":") {
				value, source = "-", "-"
			}
			fmt.Fprintf(&out, "%s\t%s\t%s\t%s\n", f[0], p, source, value)
		}
	}
	tr, err := parseGet(strings.NewReader(out.String()), scanned, top)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestPlanDestroy(t *testing.T) {
	for _, tt := range []struct {
		what     string
		tree     []string
		steps    string
		promotes string
		removes  string
	}{
		{
			what:    "nothing depends on it",
			tree:    []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a/var", "p/ROOT/a@s"},
			removes: "p/ROOT/a p/ROOT/a/var p/ROOT/a@s",
		},
		{
			what: "a clone with a subordinate",
			tree: []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a@s clones=p/ROOT/b", "p/ROOT/a/var", "p/ROOT/a/var@s clones=p/ROOT/b/var",
				"p/ROOT/b origin=p/ROOT/a@s", "p/ROOT/b/var origin=p/ROOT/a/var@s"},
			steps:    "promote p/ROOT/b; promote p/ROOT/b/var",
			promotes: "b",
			removes:  "p/ROOT/a p/ROOT/a/var",
		},
		{
			what: "several clones: one of the newest snapshot is promoted, what is older and nobody's goes first",
			tree: []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a@1", "p/ROOT/a@2 clones=p/ROOT/b", "p/ROOT/a@3",
				"p/ROOT/a@4 clones=p/ROOT/d,p/ROOT/c", "p/ROOT/a@5", "p/ROOT/b", "p/ROOT/c", "p/ROOT/d"},
			steps:    "destroy p/ROOT/a@1; destroy p/ROOT/a@3; promote p/ROOT/c",
			promotes: "c",
			removes:  "p/ROOT/a p/ROOT/a@1 p/ROOT/a@3 p/ROOT/a@5",
		},
		{
			what:     "the heir has a snapshot of that name",
			tree:     []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a@daily guid=77 clones=p/ROOT/b", "p/ROOT/b", "p/ROOT/b@daily"},
			steps:    "rename p/ROOT/a@daily p/ROOT/a@daily-77; promote p/ROOT/b",
			promotes: "b",
			removes:  "p/ROOT/a",
		},
		{
			what:    "its automatic origin goes with it",
			tree:    []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a0", "p/ROOT/a0@auto org.beadm:auto=create clones=p/ROOT/a", "p/ROOT/a origin=p/ROOT/a0@auto"},
			removes: "p/ROOT/a p/ROOT/a0@auto",
		},
		{
			what: "an automatic origin that the heir takes over stays",
			tree: []string{"p/ROOT", "p/ROOT/r", "p/ROOT/r@auto org.beadm:auto=create clones=p/ROOT/a", "p/ROOT/a origin=p/ROOT/r@auto",
				"p/ROOT/a@s clones=p/ROOT/b", "p/ROOT/b origin=p/ROOT/a@s"},
			steps:    "promote p/ROOT/b",
			promotes: "b",
			removes:  "p/ROOT/a",
		},
		{
			what:    "an origin that another one needs stays",
			tree:    []string{"p/ROOT", "p/ROOT/a0", "p/ROOT/a0@auto org.beadm:auto=create clones=p/ROOT/a,p/ROOT/b", "p/ROOT/a origin=p/ROOT/a0@auto", "p/ROOT/b"},
			removes: "p/ROOT/a",
		},
		{
			what:     "a clone outside the boot environments",
			tree:     []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a@s clones=p/test"},
			steps:    "rename p/ROOT/a@s p/ROOT/a@s-1002; promote p/test",
			promotes: "p/test",
			removes:  "p/ROOT/a",
		},
	} {
		t.Run(tt.what, func(t *testing.T) {
			plan := planDestroy(grow(t, dedup(tt.tree)...), "p/ROOT", "p/ROOT/a")
			var steps []string
			for _, argv := range plan.steps {
				steps = append(steps, strings.TrimPrefix(strings.Join(argv, " "), "zfs "))
			}
			if got := strings.Join(steps, "; "); got != tt.steps {
				t.Errorf("the steps are %q, want %q", got, tt.steps)
			}
			if got := strings.Join(plan.report.Promotes, " "); got != tt.promotes {
				t.Errorf("promoted is %q, want %q", got, tt.promotes)
			}
			if got := strings.Join(plan.report.Removes, " "); got != tt.removes {
				t.Errorf("removed is %q, want %q", got, tt.removes)
			}
		})
	}
}

// dedup keeps the last line of each dataset, in the order of the first.
func dedup(lines []string) []string {
	at := map[string]int{}
	var out []string
	for _, line := range lines {
		name, _, _ := strings.Cut(line, " ")
		if i, ok := at[name]; ok {
			out[i] = line
			continue
		}
		at[name] = len(out)
		out = append(out, line)
	}
	return out
}

func TestSpots(t *testing.T) {
	for _, tt := range []struct {
		what string
		tree []string
		want string
	}{
		{"inherited and own mount points", []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a/var mountpoint=/var canmount=off", "p/ROOT/a/var/lib mountpoint=/var/lib",
			"p/ROOT/a/data mountpoint=/opt/data", "p/ROOT/a/x mountpoint=none", "p/ROOT/a/y mountpoint=legacy"}, "a= a/data=opt/data a/var/lib=var/lib"},
		{"parents before children, whatever they are called", []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a/1 mountpoint=/srv/www", "p/ROOT/a/2 mountpoint=/srv"}, "a= a/2=srv a/1=srv/www"},
		{"an altroot", []string{"p/ROOT", "p/ROOT/a mountpoint=/z", "p/ROOT/a/srv mountpoint=/z/srv"}, "a= a/srv=srv"},
		{"a legacy root", []string{"p/ROOT", "p/ROOT/a mountpoint=legacy", "p/ROOT/a/srv mountpoint=/srv", "p/ROOT/a/var mountpoint=legacy"}, "a= a/srv=srv"},
		{"dots stay inside", []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a/up mountpoint=/../../etc"}, "a= a/up=etc"},
		{"a second root", []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a/twin mountpoint=/"}, "a="},
	} {
		list := spots(grow(t, tt.tree...), "p/ROOT/a")
		var got []string
		for _, sp := range list {
			got = append(got, strings.TrimPrefix(sp.d.name, "p/ROOT/")+"="+sp.rel)
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, text, tt.want)
		}
	}
}

func TestUUIDOnlyWhereItIsLocal(t *testing.T) {
	const one, two = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
	for _, tt := range []struct {
		props map[string]property
		want  be.UUID
	}{
		{map[string]property{propUUID: {one, "local"}, propLibbeUUID: {two, "local"}}, one},
		{map[string]property{propUUID: {one, "received"}, propLibbeUUID: {two, "local"}}, two},
		{map[string]property{propUUID: {one, "inherited from p/ROOT"}}, ""},
		{map[string]property{propUUID: {"none", "local"}, propLibbeUUID: {strings.ToUpper(two), "local"}}, two},
		{map[string]property{propUUID: {"-", "-"}}, ""},
	} {
		if got := uuid(withProps(tt.props)); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.props, got, tt.want)
		}
	}
}

// withProps is a dataset of which these properties are known.
func withProps(props map[string]property) *dataset {
	d := &dataset{}
	for name, p := range props {
		d.keys, d.props = append(d.keys, name), append(d.props, p)
	}
	return d
}
