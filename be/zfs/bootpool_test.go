package zfs

import (
	"context"
	"slices"
	"strings"
	"testing"

	"beadm/be"
)

const (
	idA = "aaaaaaaa-2222-3333-4444-555555555555"
	idB = "bbbbbbbb-2222-3333-4444-555555555555"
)

// growBoots is grow for roots in p/ROOT and what is in b/BOOT.
func growBoots(t *testing.T, lines ...string) *tree {
	t.Helper()
	var roots, boots []string
	for _, line := range lines {
		if strings.HasPrefix(line, "b/") {
			boots = append(boots, line)
		} else {
			roots = append(roots, line)
		}
	}
	tr := grow(t, roots...)
	for name, d := range growIn(t, "b/BOOT", boots...).by {
		tr.by[name] = d
	}
	tr.names = nil
	for _, line := range dedup(lines) {
		name, _, _ := strings.Cut(line, " ")
		tr.names = append(tr.names, name)
	}
	(&Store{root: "p/ROOT", pool: "p"}).matchBoots(tr, "b/BOOT")
	return tr
}

// Whose a /boot is goes by the UUID: a cut between the two halves of a rename
// leaves names that say something else. What nobody was tied to yet is that of
// its own name.
func TestBootsByUUID(t *testing.T) {
	for _, tt := range []struct {
		what string
		tree []string
		want map[string]string
	}{
		{"tied", []string{"p/ROOT", "p/ROOT/a org.beadm:uuid=" + idA + " org.beadm:boot=b/BOOT", "b/BOOT", "b/BOOT/a org.beadm:of=" + idA},
			map[string]string{"p/ROOT/a": "b/BOOT/a"}},
		{"renamed half", []string{"p/ROOT", "p/ROOT/new org.beadm:uuid=" + idA + " org.beadm:boot=b/BOOT", "b/BOOT", "b/BOOT/old org.beadm:of=" + idA, "b/BOOT/new org.beadm:of=" + idB},
			map[string]string{"p/ROOT/new": "b/BOOT/old"}},
		{"another's of its name", []string{"p/ROOT", "p/ROOT/a org.beadm:uuid=" + idA + " org.beadm:boot=b/BOOT", "b/BOOT", "b/BOOT/a org.beadm:of=" + idB},
			map[string]string{}},
		{"adopted half", []string{"p/ROOT", "p/ROOT/a org.beadm:uuid=" + idA + " org.beadm:boot=b/BOOT", "b/BOOT", "b/BOOT/a"},
			map[string]string{"p/ROOT/a": "b/BOOT/a"}},
		{"not adopted", []string{"p/ROOT", "p/ROOT/a org.beadm:uuid=" + idA, "b/BOOT", "b/BOOT/a"},
			map[string]string{}},
		{"created half", []string{"p/ROOT", "p/ROOT/a org.beadm:uuid=" + idA + " org.beadm:boot=b/BOOT org.beadm:incomplete=create", "b/BOOT", "b/BOOT/a"},
			map[string]string{}},
		{"what is below is no /boot of its own", []string{"p/ROOT", "p/ROOT/a org.beadm:uuid=" + idA + " org.beadm:boot=b/BOOT", "b/BOOT", "b/BOOT/a org.beadm:of=" + idA, "b/BOOT/a/x org.beadm:of=" + idA},
			map[string]string{"p/ROOT/a": "b/BOOT/a"}},
	} {
		tr := growBoots(t, tt.tree...)
		if len(tr.boots) != len(tt.want) {
			t.Errorf("%s: %v", tt.what, tr.boots)
		}
		for top, boot := range tt.want {
			if tr.boots[top] != boot {
				t.Errorf("%s: %s has %q, want %q", tt.what, top, tr.boots[top], boot)
			}
		}
	}
}

// Both halves of what depends on it become independent, and both go.
func TestPlanDestroyWithBoot(t *testing.T) {
	tr := growBoots(t, "p/ROOT",
		"p/ROOT/r", "p/ROOT/r@auto org.beadm:auto=create clones=p/ROOT/a",
		"p/ROOT/a origin=p/ROOT/r@auto org.beadm:boot=b/BOOT org.beadm:uuid="+idA, "p/ROOT/a@s clones=p/ROOT/c", "p/ROOT/a@t",
		"p/ROOT/c origin=p/ROOT/a@s org.beadm:boot=b/BOOT org.beadm:uuid="+idB,
		"b/BOOT",
		"b/BOOT/r", "b/BOOT/r@auto org.beadm:auto=create clones=b/BOOT/a",
		"b/BOOT/a origin=b/BOOT/r@auto org.beadm:of="+idA, "b/BOOT/a@s clones=b/BOOT/other", "b/BOOT/a@t",
		"b/BOOT/other origin=b/BOOT/a@s org.beadm:of="+idB)
	p := planDestroy(tr, "p/ROOT", "p/ROOT/a")
	var steps []string
	for _, argv := range p.steps {
		steps = append(steps, strings.Join(argv, " "))
	}
	if got := strings.Join(steps, "; "); got != "zfs promote p/ROOT/c; zfs promote b/BOOT/other" {
		t.Errorf("the steps are %s", got)
	}
	if got := strings.Join(p.report.Promotes, " "); got != "c" {
		t.Errorf("promoted is %s", got)
	}
	if got := strings.Join(p.report.Removes, " "); got != "b/BOOT/a b/BOOT/a@t p/ROOT/a p/ROOT/a@t" {
		t.Errorf("removed is %s", got)
	}
	// With no heir the automatic snapshots that it came from go too.
	tr = growBoots(t, "p/ROOT",
		"p/ROOT/r", "p/ROOT/r@auto org.beadm:auto=create clones=p/ROOT/a",
		"p/ROOT/a origin=p/ROOT/r@auto org.beadm:boot=b/BOOT org.beadm:uuid="+idA,
		"b/BOOT", "b/BOOT/r", "b/BOOT/r@auto org.beadm:auto=create clones=b/BOOT/a",
		"b/BOOT/a origin=b/BOOT/r@auto org.beadm:of="+idA)
	p = planDestroy(tr, "p/ROOT", "p/ROOT/a")
	if got := strings.Join(p.report.Removes, " "); got != "b/BOOT/a b/BOOT/r@auto p/ROOT/a p/ROOT/r@auto" || len(p.steps) > 0 {
		t.Errorf("removed is %s, after %v", got, p.steps)
	}
}

// /boot is at its place whatever its properties say, and what is below it is
// below it.
func TestBootIsAPart(t *testing.T) {
	tr := growBoots(t, "p/ROOT",
		"p/ROOT/a used=1000 org.beadm:boot=b/BOOT org.beadm:uuid="+idA, "p/ROOT/a/srv mountpoint=/srv used=300",
		"b/BOOT", "b/BOOT/x mountpoint=legacy used=70 org.beadm:of="+idA, "b/BOOT/x/grub mountpoint=/boot/grub used=20")
	var got []string
	for _, sp := range spots(tr, "p/ROOT/a") {
		got = append(got, sp.d.name+"="+sp.rel)
	}
	if text := strings.Join(got, " "); text != "p/ROOT/a= b/BOOT/x=boot p/ROOT/a/srv=srv b/BOOT/x/grub=boot/grub" {
		t.Errorf("mounted are %s", text)
	}
	if below := tr.below("p/ROOT/a", "filesystem"); below.by["b/BOOT/x/grub"] == nil || below.by["p/ROOT"] != nil || below.by["b/BOOT"] != nil {
		t.Errorf("its own are %v", below.names)
	}
	s := &Store{root: "p/ROOT", pool: "p", memory: &memory{trees: map[string]*tree{"p/ROOT": tr}}}
	parts, err := s.Parts(context.Background(), "a")
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, p := range parts {
		got = append(got, p.Location+"="+p.Path)
	}
	if text := strings.Join(got, " "); text != "p/ROOT/a=/ p/ROOT/a/srv=/srv b/BOOT/x=/boot b/BOOT/x/grub=/boot/grub" {
		t.Errorf("its parts are %s", text)
	}
	if parts[2].Space != 50 {
		t.Errorf("/boot holds %d", parts[2].Space)
	}
	list, err := s.List(context.Background())
	if err != nil || len(list) != 1 || list[0].Space != 1070 {
		t.Errorf("listed is %+v, %v", list, err)
	}
}

// What would lose or overwrite a /boot is refused.
func TestBootClone(t *testing.T) {
	s := &Store{root: "p/ROOT", pool: "p"}
	root := "p/ROOT/a org.beadm:boot=b/BOOT org.beadm:uuid=" + idA
	for _, tt := range []struct {
		what   string
		tree   []string
		away   bool
		source *Store
		kind   be.Kind
		says   string
	}{
		{what: "all well", tree: []string{"p/ROOT", root, "b/BOOT", "b/BOOT/a org.beadm:of=" + idA}},
		{what: "none", tree: []string{"p/ROOT", "p/ROOT/a"}},
		{what: "not imported", tree: []string{"p/ROOT", root}, away: true, kind: be.NoStore, says: "zpool import -N b"},
		{what: "gone", tree: []string{"p/ROOT", root, "b/BOOT"}, kind: be.NotFound, says: "is gone"},
		{what: "of another store", tree: []string{"p/ROOT", root, "b/BOOT", "b/BOOT/a org.beadm:of=" + idA}, source: &Store{root: "p/ROOT"}, kind: be.NoStore, says: "b/BOOT/a"},
		{what: "the name is somebody's", tree: []string{"p/ROOT", root, "b/BOOT", "b/BOOT/a org.beadm:of=" + idA, "b/BOOT/new"}, kind: be.InUse, says: "b/BOOT/new"},
		{what: "the name is another one's", tree: []string{"p/ROOT", root, "p/ROOT/c org.beadm:boot=b/BOOT org.beadm:uuid=" + idB, "b/BOOT", "b/BOOT/a org.beadm:of=" + idA, "b/BOOT/new org.beadm:of=" + idB}, kind: be.InUse, says: "/boot of c"},
	} {
		tr := growBoots(t, tt.tree...)
		if tt.away {
			tr.away = map[string]string{"p/ROOT/a": "b/BOOT"}
		}
		if tt.source == nil {
			tt.source = s
		}
		_, to, err := s.bootClone(tt.source, tr, "p/ROOT/a", "new")
		if tt.says == "" {
			if want := map[bool]string{true: "b/BOOT/new"}[len(tt.tree) > 2]; err != nil || to != want {
				t.Errorf("%s: %q, %v", tt.what, to, err)
			}
			continue
		}
		if be.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

// Doctor says what is missing.
func TestInspectBoots(t *testing.T) {
	s := &Store{root: "p/ROOT", pool: "p"}
	tr := growBoots(t, "p/ROOT", "p/ROOT/a org.beadm:boot=b/BOOT org.beadm:uuid="+idA, "p/ROOT/c org.beadm:boot=b/BOOT org.beadm:uuid="+idB,
		"b/BOOT", "b/BOOT/a mountpoint=legacy org.beadm:of="+idA)
	if list := inspect(tr, s); len(list) != 1 || list[0].ID != "bootpool" || !strings.Contains(list[0].Text, "p/ROOT/c") {
		t.Errorf("%+v", list)
	}
}

// A snapshot has one name in both pools after it changed hands, wherever a cut
// came, or its /boot would be lost or be another one's.
func TestHalvesKeepOneName(t *testing.T) {
	roots := []string{"p/ROOT", "p/ROOT/a org.beadm:boot=b/BOOT org.beadm:uuid=" + idA, "p/ROOT/c origin=p/ROOT/a@s org.beadm:boot=b/BOOT org.beadm:uuid=" + idB}
	boots := []string{"b/BOOT", "b/BOOT/a org.beadm:of=" + idA, "b/BOOT/c origin=b/BOOT/a@s org.beadm:of=" + idB}
	const promote = "promote p/ROOT/c; promote b/BOOT/c"
	for _, tt := range []struct {
		what, steps string
		tree        []string
	}{
		{"only the root's name is taken", "rename b/BOOT/a@s b/BOOT/a@s-11; rename p/ROOT/a@s p/ROOT/a@s-11; " + promote,
			[]string{"p/ROOT/a@s guid=11 clones=p/ROOT/c", "p/ROOT/c@s guid=12", "b/BOOT/a@s guid=21 clones=b/BOOT/c"}},
		{"only the other's is", "rename b/BOOT/a@s b/BOOT/a@s-11; rename p/ROOT/a@s p/ROOT/a@s-11; " + promote,
			[]string{"p/ROOT/a@s guid=11 clones=p/ROOT/c", "b/BOOT/a@s guid=21 clones=b/BOOT/c", "b/BOOT/c@s guid=22"}},
		{"cut between the two", "rename p/ROOT/a@s p/ROOT/a@s-11; " + promote,
			[]string{"p/ROOT/a@s guid=11 clones=p/ROOT/c", "b/BOOT/a@s-11 guid=21 clones=b/BOOT/c", "b/BOOT/c@s guid=22"}},
		{"cut after both", promote,
			[]string{"p/ROOT/a@s-11 guid=11 clones=p/ROOT/c", "p/ROOT/c@s guid=12", "b/BOOT/a@s-11 guid=21 clones=b/BOOT/c"}},
		{"the root is promoted", "promote b/BOOT/c",
			[]string{"p/ROOT/c@s-11 guid=11", "p/ROOT/c@s guid=12", "b/BOOT/a@s-11 guid=21 clones=b/AAA,b/BOOT/c"}},
		{"a clone of somebody else's comes first by name", promote,
			[]string{"p/ROOT/a@s guid=11 clones=p/ROOT/c", "b/BOOT/a@s guid=21 clones=b/AAA,b/BOOT/c"}},
		{"an heir elsewhere, cut between the two", "rename p/ROOT/a@s p/ROOT/a@s-11; promote p/test; promote b/AAA",
			[]string{"p/ROOT/a@s guid=11 clones=p/test", "b/BOOT/a@s-11 guid=21 clones=b/AAA"}},
	} {
		tr := growBoots(t, append(append(slices.Clone(roots), boots...), tt.tree...)...)
		var steps []string
		for _, argv := range planDestroy(tr, "p/ROOT", "p/ROOT/a").steps {
			steps = append(steps, strings.TrimPrefix(strings.Join(argv, " "), "zfs "))
		}
		if got := strings.Join(steps, "; "); got != tt.steps {
			t.Errorf("%s: %s\n\twant %s", tt.what, got, tt.steps)
		}
	}
}

// What is left of a snapshot in the other pool is no half of one that was made
// without it.
func TestHalvesOfSnapshots(t *testing.T) {
	tr := growBoots(t, "p/ROOT", "p/ROOT/a org.beadm:boot=b/BOOT org.beadm:uuid="+idA,
		"p/ROOT/a@whole", "p/ROOT/a@alone org.beadm:boot=none",
		"b/BOOT", "b/BOOT/a org.beadm:of="+idA, "b/BOOT/a@whole org.beadm:of="+idA, "b/BOOT/a@alone org.beadm:of="+idA,
		"b/BOOT/a@left org.beadm:of="+idA, "b/BOOT/a@theirs")
	for snap, half := range map[string]bool{"whole": false, "alone": true, "left": true, "theirs": false} {
		if got := tr.isHalf(tr.by["b/BOOT/a@"+snap]); got != half {
			t.Errorf("%s is left of another: %v", snap, got)
		}
	}
	if tr.bootWith("p/ROOT/a", "whole") == nil || tr.bootWith("p/ROOT/a", "alone") != nil {
		t.Error("the /boot of a snapshot is another one's")
	}
}
