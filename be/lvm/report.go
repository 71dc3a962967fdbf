package lvm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"beadm/be"
)

// columns are what is asked of lvs(8).
var columns = []string{
	"vg_name", "vg_uuid", "lv_name", "lv_uuid", "lv_size", "lv_layout", "lv_attr", "pool_lv", "origin", "origin_uuid",
	"data_percent", "metadata_percent", "thin_id", "lv_tags", "lv_time", "lv_health_status",
}

// timeFormat has lvs tell seconds since 1970.
const timeFormat = `report/time_format="%s"`

// volume is a logical volume, as lvs describes it.
type volume struct {
	vg, vgUUID         string
	name, uuid         string
	size               int64
	layout             []string
	readOnly           bool
	pool               string // the name of the pool that it is in
	origin, originUUID string
	data, metadata     float64 // percent
	thinID             int
	tags               []string
	created            time.Time
	health             string
}

// tag is the value of a tag, empty if there is none.
func (v *volume) tag(begin string) string {
	text, _ := value(v.tags, begin)
	return text
}

// path is how LVM's commands name it.
func (v *volume) path() string { return v.vg + "/" + v.name }

// node is the name that a kernel argument and an fstab have for it.
func (v *volume) node() string { return "/dev/" + v.path() }

// id is how device mapper knows a volume.
func (v *volume) id() string {
	return "LVM-" + strings.ReplaceAll(v.vgUUID+v.uuid, "-", "")
}

// mapped is how much of it is in the pool.
func (v *volume) mapped() int64 { return int64(float64(v.size) * v.data / 100) }

// tree is the volumes of a group.
type tree struct{ list []*volume }

// parseReport reads what lvs --reportformat json says. A column that is missing
// is an error: a volume without its tags would be anybody's.
func parseReport(out string) (*tree, error) {
	var report struct {
		Report []struct {
			LV []map[string]string `json:"lv"`
		} `json:"report"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return nil, fmt.Errorf("lvs wrote what is not its report: %w", err)
	}
	t := &tree{}
	for _, r := range report.Report {
		for _, row := range r.LV {
			v, err := parseVolume(row)
			if err != nil {
				return nil, err
			}
			t.list = append(t.list, v)
		}
	}
	return t, nil
}

func parseVolume(row map[string]string) (*volume, error) {
	for _, c := range columns {
		if _, ok := row[c]; !ok {
			return nil, fmt.Errorf("lvs says nothing of %s", c)
		}
	}
	v := &volume{
		vg: row["vg_name"], vgUUID: row["vg_uuid"], name: row["lv_name"], uuid: row["lv_uuid"],
		layout: fields(row["lv_layout"]), readOnly: len(row["lv_attr"]) > 1 && row["lv_attr"][1] == 'r',
		pool: row["pool_lv"], origin: row["origin"], originUUID: row["origin_uuid"], tags: fields(row["lv_tags"]), health: row["lv_health_status"],
	}
	var err error
	number := func(column string, parse func(string) error) {
		if text := row[column]; text != "" && err == nil {
			if e := parse(text); e != nil {
				err = fmt.Errorf("lvs says that the %s of %s is %q", column, v.path(), text)
			}
		}
	}
	number("lv_size", func(s string) (e error) { v.size, e = strconv.ParseInt(s, 10, 64); return })
	number("data_percent", func(s string) (e error) { v.data, e = strconv.ParseFloat(s, 64); return })
	number("metadata_percent", func(s string) (e error) { v.metadata, e = strconv.ParseFloat(s, 64); return })
	number("thin_id", func(s string) (e error) { v.thinID, e = strconv.Atoi(s); return })
	number("lv_time", func(s string) error {
		sec, e := strconv.ParseInt(s, 10, 64)
		v.created = time.Unix(sec, 0)
		return e
	})
	return v, err
}

func fields(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// find is the volume that f says, nil if there is none.
func (t *tree) find(f func(*volume) bool) *volume {
	if i := slices.IndexFunc(t.list, f); i >= 0 {
		return t.list[i]
	}
	return nil
}

// named is the volume of that name.
func (t *tree) named(name string) *volume {
	return t.find(func(v *volume) bool { return v.name == name })
}

// isSnapshot says whether it is a snapshot of ours.
func (v *volume) isSnapshot() bool { return v.tag(tagSnap) != "" && v.tag(tagOf) != "" }

// isAuto says whether it is a snapshot that Create made.
func (v *volume) isAuto() bool { return v.isSnapshot() && slices.Contains(v.tags, tagAuto) }

// isOpen says whether it is to be read-only again.
func (v *volume) isOpen() bool { return slices.Contains(v.tags, tagOpen) }

// isReadOnly says whether nobody but who opens it can write to it.
func (v *volume) isReadOnly() bool { return v.readOnly || v.isOpen() }

// snapshots are those of an owner, oldest first.
func (t *tree) snapshots(owner string) []*volume {
	var list []*volume
	for _, v := range t.list {
		if v.isSnapshot() && owner != "" && v.tag(tagOf) == owner {
			list = append(list, v)
		}
	}
	sortVolumes(list)
	return list
}

// sortVolumes sorts by age. Of those made within one second the younger has the
// higher number in its pool.
func sortVolumes(list []*volume) {
	slices.SortStableFunc(list, func(a, b *volume) int {
		if c := a.created.Compare(b.created); c != 0 {
			return c
		}
		return a.thinID - b.thinID
	})
}

// hasClones says whether anything but except came of a volume.
func (t *tree) hasClones(v *volume, except []*volume) bool {
	return t.find(func(c *volume) bool { return c.originUUID == v.uuid && !slices.Contains(except, c) }) != nil
}

// How full a pool may be for something more to be begun in it. At 100 percent
// of data every write to it fails; at 100 percent of metadata it has to be
// repaired.
const (
	maxData     = 95
	maxMetadata = 90
)

// room says why nothing new may be begun in a pool.
func room(pool *volume) error {
	switch {
	case pool.health != "":
		return be.E(be.Undone, "the thin pool %s is not healthy (%s); see lvs -o+lv_health_status %s and lvmthin(7)", pool.path(), pool.health, pool.path())
	case pool.data >= maxData:
		return be.E(be.Undone, "the thin pool %s is %.0f %% full; destroy boot environments or snapshots that are no longer needed, or enlarge it with lvextend -L +SIZE %s", pool.path(), pool.data, pool.path())
	case pool.metadata >= maxMetadata:
		return be.E(be.Undone, "the metadata of the thin pool %s are %.0f %% full; destroy boot environments or snapshots that are no longer needed, or enlarge them with lvextend --poolmetadatasize +SIZE %s", pool.path(), pool.metadata, pool.path())
	}
	return nil
}
