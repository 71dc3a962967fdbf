package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"beadm/be"
)

// Frees adds up what ZFS keeps account of. Every block belongs to the snapshot
// or file system in which it was born; it comes back if no later one of the same
// dataset that stays holds it. Clones of a snapshot that goes go first, so they
// do not count.
func (s *Store) Frees(ctx context.Context, names []string) (be.Frees, error) {
	t, err := s.scan(ctx)
	var frees be.Frees
	if err == nil {
		var d *doom
		if d, err = plotDoom(t, s.root, names); err == nil {
			frees, err = d.add(func(argv ...string) (string, error) { return s.output(ctx, argv...) })
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return be.Frees{Bytes: frees.Bytes, AtLeast: true}, nil
	}
	return frees, problem(err, "cannot see what destroying would free")
}

// doom is which snapshots and boot environments would be gone in the end.
type doom struct {
	t     *tree
	tops  []string        // boot environments
	snaps map[string]bool // snapshots of others
	keep  map[string]bool // which snapshots stay, once known
	// passed are those that go, but only once they were promoted to a clone.
	passed map[string]string
	// unsure: a snapshot may go or stay, by the order in which they are destroyed.
	unsure bool
}

func plotDoom(t *tree, root string, names []string) (*doom, error) {
	d := &doom{t: t, snaps: map[string]bool{}, keep: map[string]bool{}, passed: map[string]string{}}
	for _, name := range names {
		of, snap, isSnap := be.SplitSnapshot(name)
		top := root + "/" + of
		if ds := t.by[top]; be.CheckName(of) != nil || ds == nil || ds.value("type") != "filesystem" {
			return nil, be.E(be.NotFound, "there is no boot environment %s in %s; see beadm list", of, root)
		}
		if !isSnap {
			d.tops = append(d.tops, top)
			continue
		}
		if t.by[top+"@"+snap] == nil {
			return nil, be.E(be.NotFound, "there is no snapshot %s", name)
		}
		for _, one := range t.tops(top) {
			for _, sn := range t.fellows(one, snap) {
				d.snaps[sn.name] = true
			}
		}
	}
	for _, top := range d.tops {
		for _, one := range t.tops(top) {
			if origin := t.by[t.by[one].value("origin")]; origin != nil && origin.local(propAuto) != "" {
				d.sweep(origin)
			}
		}
	}
	return d, nil
}

// sweep has an automatic snapshot go with those of its name below, if all that
// was cloned from them goes.
func (d *doom) sweep(origin *dataset) {
	ds, snap := origin.split()
	fellows := d.t.fellows(ds, snap)
	for _, sn := range fellows {
		if sn.number("userrefs") > 0 || d.needed(sn) {
			return
		}
	}
	for _, sn := range fellows {
		d.snaps[sn.name] = true
	}
}

// fellows are the snapshots of that name of a dataset and of those below.
func (t *tree) fellows(ds, snap string) []*dataset {
	var list []*dataset
	for _, full := range t.names {
		if owner, is := strings.CutSuffix(full, "@"+snap); is && within(owner, ds) {
			list = append(list, t.by[full])
		}
	}
	return list
}

func (d *doom) inside(ds string) bool {
	return d.order(ds) >= 0
}

// needed reports whether a snapshot stays: what was cloned from it stays, or is
// promoted and hands it on to what was cloned from that. An automatic one that
// only one of these is left of goes nevertheless, as nothing is its clone any
// more once that is promoted; one that somebody else made goes with a clone that
// goes later.
func (d *doom) needed(sn *dataset) bool {
	if known, ok := d.keep[sn.name]; ok {
		return known
	}
	var lines []string // clones by which it lives on
	outside := false
	for _, c := range cloneNames(sn) {
		if !d.inside(c) {
			lines, outside = append(lines, c), true
		} else if d.hands(c) {
			lines = append(lines, c)
		}
	}
	ds, _ := sn.split()
	need := true
	switch {
	case len(lines) == 0:
		need = false
	case !d.inside(ds), sn.number("userrefs") > 0:
	case sn.local(propAuto) != "":
		if len(lines) == 1 && !d.handsAfter(ds, sn) {
			d.passed[sn.name], need = lines[0], false
		}
	case outside:
	case len(lines) > 1 || d.handsAfter(ds, sn):
		d.unsure = true
	case d.order(ds) < d.order(lines[0]):
		d.passed[sn.name], need = lines[0], false
	}
	d.keep[sn.name] = need
	return need
}

// hands reports whether one that goes has a snapshot that stays or is passed on.
func (d *doom) hands(ds string) bool { return d.handsAfter(ds, nil) }

// handsAfter is hands for snapshots after one; nil: all.
func (d *doom) handsAfter(ds string, sn *dataset) bool {
	for _, one := range d.t.snapshots(ds) {
		if sn != nil && one.number("createtxg") <= sn.number("createtxg") {
			continue
		}
		if d.needed(one) || d.passed[one.name] != "" {
			return true
		}
	}
	return false
}

// order is the place among the boot environments that go.
func (d *doom) order(ds string) int {
	return slices.IndexFunc(d.tops, func(top string) bool { return d.t.holds(top, ds) })
}

// goes reports whether a snapshot is gone in the end.
func (d *doom) goes(sn *dataset) bool {
	ds, _ := sn.split()
	return (d.inside(ds) || d.snaps[sn.name]) && !d.needed(sn)
}

// base is the last snapshot before one, of its dataset or of what that was
// cloned from, that stays; nil if there is none.
func (d *doom) base(sn *dataset) *dataset {
	for sn != nil {
		ds, _ := sn.split()
		for _, earlier := range slices.Backward(d.t.snapshots(ds)) {
			if earlier.number("createtxg") < sn.number("createtxg") && !d.goes(earlier) {
				return earlier
			}
		}
		if sn = d.t.by[d.t.by[ds].value("origin")]; sn != nil && !d.goes(sn) {
			return sn
		}
	}
	return nil
}

type asker func(argv ...string) (string, error)

// add adds up what comes back.
func (d *doom) add(ask asker) (be.Frees, error) {
	var frees be.Frees
	for _, name := range d.t.names {
		if ds := d.t.by[name]; ds.value("type") == "filesystem" {
			n, err := d.ofDataset(ds, ask)
			if frees.Bytes += n; err != nil {
				return frees, err
			}
		}
	}
	frees.AtLeast = d.unsure
	return frees, nil
}

func (d *doom) ofDataset(ds *dataset, ask asker) (bytes int64, err error) {
	inside, snaps := d.inside(ds.name), d.t.snapshots(ds.name)
	origin := d.t.by[ds.value("origin")]
	// What is before the first that stays may be held by nothing else either.
	open := origin != nil && d.goes(origin)
	var run []*dataset // snapshots one after another that go
	var last *dataset  // that stays or is passed on
	flush := func(next *dataset) error {
		defer func() { run = nil }()
		if !open || next == nil {
			n, err := reclaimed(run, ask)
			bytes += n
			return err
		}
		open = false
		for i, sn := range run {
			after := next
			if i+1 < len(run) {
				after = run[i+1]
			}
			n, err := d.lost(sn, after, ask)
			if bytes += n; err != nil {
				return err
			}
		}
		return nil
	}
	for _, sn := range snaps {
		goes := d.goes(sn)
		clone := d.passed[sn.name]
		if goes && clone == "" {
			run = append(run, sn)
			continue
		}
		last = sn
		if err := flush(sn); err != nil {
			return bytes, err
		}
		if goes {
			next := &dataset{name: clone}
			if snaps := d.t.snapshots(clone); len(snaps) > 0 {
				next = snaps[0]
			}
			n, err := d.lost(sn, next, ask)
			if bytes += n; err != nil {
				return bytes, err
			}
		}
	}
	switch {
	case inside && last == nil:
		return d.own(ds), nil
	case inside && last == snaps[len(snaps)-1]:
		bytes += ds.number("written")
	case inside:
		n, err := written(last, ds, ask)
		if bytes += n; err != nil {
			return bytes, err
		}
	}
	return bytes, flush(nil)
}

// lost is what a snapshot that goes holds, and neither the one that is next
// after it nor any before it that stays.
func (d *doom) lost(sn, next *dataset, ask asker) (int64, error) {
	base := d.base(sn)
	here, err := written(base, sn, ask)
	if err != nil {
		return 0, err
	}
	there, err := written(base, next, ask)
	if err != nil {
		return 0, err
	}
	since, err := written(sn, next, ask)
	return here - there + since, err
}

// written is what a dataset or snapshot refers to that was not there yet when an
// earlier one, also of what it was cloned from, was made; nil: all.
func written(since, in *dataset, ask asker) (int64, error) {
	prop := "referenced"
	if since != nil {
		prop = "written@" + since.name
		ds, snap := since.split()
		if of, _ := in.split(); of == ds {
			prop = "written@" + snap
		}
	}
	out, err := ask("zfs", "get", "-Hp", "-o", "value", prop, in.name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("zfs get says what cannot be understood: %q", out)
	}
	return n, nil
}

// own is what a file system uses with its snapshots, without those below it.
func (d *doom) own(ds *dataset) int64 {
	n := ds.number("used")
	for _, name := range d.t.names {
		if child := d.t.by[name]; parent(name) == ds.name && child.value("type") != "snapshot" {
			n -= child.number("used")
		}
	}
	return n
}

// reclaimed is what the destroying of snapshots, one after another of one
// dataset, gives back: more than each alone.
func reclaimed(run []*dataset, ask asker) (int64, error) {
	switch len(run) {
	case 0:
		return 0, nil
	case 1:
		return run[0].number("used"), nil
	}
	_, last := run[len(run)-1].split()
	out, err := ask("zfs", "destroy", "-nvp", run[0].name+"%"+last)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if text, is := strings.CutPrefix(strings.TrimSpace(line), "reclaim\t"); is {
			return strconv.ParseInt(text, 10, 64)
		}
	}
	return 0, fmt.Errorf("zfs destroy -nvp says what cannot be understood: %q", out)
}
