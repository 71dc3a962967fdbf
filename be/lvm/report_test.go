package lvm

import (
	"os"
	"strings"
	"testing"

	"beadm/be"
)

// The report is of lvs 2.03.16 (Debian 12) on a real group, with more columns
// than are asked for and -a.
func TestParseReport(t *testing.T) {
	data, err := os.ReadFile("testdata/lvs-2.03.16.json")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := parseReport(string(data))
	if err != nil {
		t.Fatal(err)
	}
	one, snap, pool, root := tree.named("be_one+3aa"), tree.named("snap1"), tree.named("pool"), tree.named("root")
	if len(tree.list) != 8 || one == nil || snap == nil || pool == nil || root == nil {
		t.Fatalf("%d volumes", len(tree.list))
	}
	if one.pool != "pool" || one.origin != "root" || one.originUUID != root.uuid || one.readOnly || one.size != 300<<20 || one.created.Year() != 2026 || one.thinID != 2 || root.thinID != 1 {
		t.Errorf("the clone is %+v", one)
	}
	if one.tag(tagUUID) != "1-2" || textOf(one.tags) != "a b&c:d!e/f" || snap.tag(tagSnap) != "x:y" || root.tags != nil {
		t.Errorf("tags are %q %q %q", one.tags, snap.tags, root.tags)
	}
	if root.id() != "LVM-rCH03dsjHWLOewFNHGHXV5CiVor6F1gMx9fDwOw93aNMWWGrAcLxLsD9CzZeKFYk" {
		t.Errorf("the kernel is said to call it %s", root.id())
	}
	if pool.layout[1] != "pool" || pool.pool != "" || pool.data <= 0 || pool.data > 50 || room(pool) != nil {
		t.Errorf("the pool is %+v, %v", pool, room(pool))
	}
	if !tree.hasClones(root, nil) || tree.hasClones(one, nil) || tree.hasClones(snap, []*volume{tree.named("be_two")}) {
		t.Error("what was cloned of what is wrong")
	}
}

func TestParseReportRefuses(t *testing.T) {
	for _, text := range []string{
		"", "no report", `{"report":[{"lv":[{"vg_name":"vg"}]}]}`,
		row("lv_size", "12.5g"), row("thin_id", "-"), row("data_percent", "many"),
	} {
		if tree, err := parseReport(text); err == nil {
			t.Errorf("%q was read as %+v", text, tree)
		}
	}
	if tree, err := parseReport(row("lv_size", "4096")); err != nil || tree.list[0].size != 4096 {
		t.Errorf("%+v, %v", tree, err)
	}
}

// row is a constructed report of one volume with one column given.
func row(column, value string) string {
	var list []string
	for _, c := range columns {
		v := ""
		if c == column {
			v = value
		}
		list = append(list, `"`+c+`":"`+v+`"`)
	}
	return `{"report":[{"lv":[{` + strings.Join(list, ",") + `}]}]}`
}

func TestRoom(t *testing.T) {
	for _, c := range []struct {
		pool volume
		want string
	}{
		{volume{data: 94.9, metadata: 89}, ""},
		{volume{data: 95}, "lvextend -L"},
		{volume{data: 10, metadata: 90.1}, "--poolmetadatasize"},
		{volume{health: "metadata_read_only"}, "metadata_read_only"},
	} {
		err := room(&c.pool)
		if c.want == "" && err != nil || c.want != "" && (be.KindOf(err) != be.Undone || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.pool, err, c.want)
		}
	}
}
