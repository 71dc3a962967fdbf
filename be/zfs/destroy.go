package zfs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sort"
	"strings"

	"beadm/be"
)

// Destroy promotes what was cloned from the boot environment, then destroys
// it with its snapshots, then the automatic snapshot that it came from. From
// its first step on it is Incomplete; a second Destroy finishes what an
// interrupted or failed one began.
func (s *Store) Destroy(ctx context.Context, name string, dryRun bool) (be.DestroyReport, error) {
	report, err := s.destroy(ctx, name, dryRun)
	return report, problem(err, "cannot destroy boot environment %s", name)
}

func (s *Store) destroy(ctx context.Context, name string, dryRun bool) (be.DestroyReport, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return be.DestroyReport{}, err
	}
	top := s.dataset(name)
	if !dryRun {
		if err := s.unfill(ctx, t, top); err != nil {
			return be.DestroyReport{}, err
		}
	}
	if err := s.mayGo(t, name); err != nil {
		return be.DestroyReport{}, err
	}
	if err := t.bootThere(top); err != nil {
		return be.DestroyReport{}, err
	}
	plan := planDestroy(t, s.root, top)
	report := plan.report
	if dryRun {
		return report, nil
	}
	if t.by[top].local(propIncomplete) == "" {
		if err := s.set(ctx, top, setting{propIncomplete, "destroy"}); err != nil {
			return report, err
		}
	}
	for i, step := range plan.steps {
		err := ctx.Err()
		if err == nil {
			err = s.change(ctx, step...)
		}
		if err != nil {
			if i == 0 {
				err = errors.Join(err, s.unmark(ctx, t, top))
			}
			return report, err
		}
	}
	// The root of a boot environment goes last, with its mark: zfs destroy -r
	// takes children first.
	for _, ds := range slices.Backward(t.tops(top)) {
		if err := s.destroyRecursively(ctx, ds); err != nil {
			if len(plan.steps) == 0 {
				err = errors.Join(err, s.unmark(ctx, t, top))
			}
			return report, err
		}
	}
	if t, err = s.scan(ctx); err != nil {
		return report, err
	}
	return report, s.sweepAuto(ctx, t, "")
}

// unmark makes a boot environment whole again of which nothing went: one that
// is mounted in another mount namespace, where nobody here can see it.
func (s *Store) unmark(ctx context.Context, was *tree, top string) error {
	ctx, cancel := settled(ctx)
	defer cancel()
	now, err := s.scan(ctx)
	if err != nil {
		return err
	}
	if was.by[top].local(propIncomplete) != "" || !slices.Equal(was.names, now.names) {
		return nil
	}
	return s.change(ctx, "zfs", "inherit", propIncomplete, top)
}

// mayGo says why a boot environment cannot be destroyed.
func (s *Store) mayGo(t *tree, name string) error {
	top := s.dataset(name)
	d := t.by[top]
	if d == nil || d.value("type") != "filesystem" {
		return be.E(be.NotFound, "there is no boot environment %s in %s; see beadm list", name, s.root)
	}
	if top == s.now {
		return be.E(be.InUse, "it is running")
	}
	mounted, err := readMounts()
	if err != nil {
		return err
	}
	for _, one := range t.tops(top) {
		if m := mounted.within(one, true); len(m) > 0 {
			return be.E(be.InUse, "%s is mounted at %s; unmount it first", m[0].source, m[0].dir)
		}
	}
	for _, n := range t.names {
		d := t.by[n]
		ds, snap := d.split()
		switch {
		case !t.holds(top, ds):
		case snap == "" && d.value("type") != "filesystem":
			return be.E(be.InUse, "volume %s inside it is no part of it; move it elsewhere or destroy it first", n)
		case d.number("userrefs") > 0 && (len(cloneNames(d)) == 0 || !t.outside(d, top)):
			return be.E(be.InUse, "snapshot %s is held; see zfs holds", n)
		}
	}
	return nil
}

// outside reports whether a snapshot has a clone that does not belong to top.
func (t *tree) outside(d *dataset, top string) bool {
	return slices.ContainsFunc(cloneNames(d), func(c string) bool { return !t.holds(top, c) })
}

// plan is the steps that come before the destroying of a dataset.
type plan struct {
	steps  [][]string
	report be.DestroyReport
}

// planDestroy works out how to make a boot environment free of dependants.
//
// Promoting a clone gives it the snapshot it came from and all older ones of
// the same dataset. So for each dataset it is one of the clones of the newest
// snapshot that has any: then all other clones hang on the promoted one.
// Older snapshots that nobody was cloned from would move along and stay for
// ever, so they go first.
//
// A snapshot keeps one name in all parts of a boot environment: that is how those
// of a root and of a /boot in another pool are one.
//
// What it frees is for Frees to say.
func planDestroy(t *tree, root, top string) plan {
	p := plan{report: be.DestroyReport{AtLeast: true}}
	inherited := map[string]bool{}
	promoted := map[string]bool{}
	var list []left
	for _, d := range t.parts(top) {
		l := left{dataset: d, snaps: t.snapshots(d.name)}
		l.keep = slices.DeleteFunc(slices.Clone(l.snaps), func(sn *dataset) bool { return !t.outside(sn, top) })
		if len(l.keep) > 0 {
			of := ""
			if len(list) > 0 && list[0].heir != "" {
				of = t.nameOf(list[0].heir, root)
			}
			l.heir = t.heir(l.keep[len(l.keep)-1], root, top, of)
		}
		list = append(list, l)
	}
	p.steps = t.renames(list, top)
	for _, l := range list {
		p.report.Removes = append(p.report.Removes, l.name)
		for i, sn := range l.snaps {
			switch {
			case slices.Contains(l.keep, sn):
				continue
			case len(l.keep) > 0 && i < slices.Index(l.snaps, l.keep[len(l.keep)-1]):
				p.steps = append(p.steps, []string{"zfs", "destroy", sn.name})
			}
			p.report.Removes = append(p.report.Removes, sn.name)
		}
		if l.heir != "" {
			p.steps = append(p.steps, []string{"zfs", "promote", l.heir})
			promoted[t.nameOf(l.heir, root)] = true
			_, snap, _ := be.SplitSnapshot(l.value("origin"))
			inherited[snap] = true
		}
	}
	// A snapshot inside the boot environment whose clone is inside too is
	// nothing that Create makes.
	for name := range promoted {
		p.report.Promotes = append(p.report.Promotes, name)
	}
	sort.Strings(p.report.Promotes)
	for _, one := range t.tops(top) {
		_, snap, _ := be.SplitSnapshot(t.by[one].value("origin"))
		if origin := t.by[t.by[one].value("origin")]; origin != nil && origin.local(propAuto) != "" && !inherited[snap] && onlyCloneOf(t, origin, top) {
			p.report.Removes = append(p.report.Removes, origin.name)
		}
	}
	sort.Strings(p.report.Removes)
	return p
}

// left is what a part of a boot environment that goes leaves to another one.
type left struct {
	*dataset
	snaps, keep []*dataset // all of it, and those that others were cloned from
	heir        string     // who gets them; empty: nobody needs to
}

// heir is whom a part's newest snapshot that others were cloned from is for: the
// boot environment of, which got the root's or is about to, or the first by name.
func (t *tree) heir(sn *dataset, root, top, of string) string {
	_, snap := sn.split()
	rank := func(c string) int {
		switch name := t.nameOf(c, root); {
		case of != "" && name == of:
			return 0
		case t.by[root+"/"+name+"@"+snap] != nil:
			return 1
		}
		return 2
	}
	var list []string
	for _, c := range cloneNames(sn) {
		if !t.holds(top, c) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a, b)) })
	return list[0]
}

// renames gives names of their own to the snapshots of which an heir has one of
// that name already, which would make the promotion fail; of an heir that is
// elsewhere in the pool nobody here knows which it has. The root's comes last: it
// tells, after a cut, what the others were to be called.
func (t *tree) renames(list []left, top string) (steps [][]string) {
	own := func(sn *dataset) string {
		_, snap := sn.split()
		if of := t.by[top+"@"+snap]; of != nil {
			sn = of
		}
		return "-" + sn.value("guid")
	}
	taken := map[string]bool{}
	for _, l := range list {
		for _, sn := range l.keep {
			_, snap := sn.split()
			if t.by[l.heir+"@"+snap] != nil || t.by[l.heir] == nil && !strings.HasSuffix(snap, own(sn)) && !t.isOwn(snap, top) {
				taken[snap] = true
			}
			if of := t.by[top+"@"+snap]; of != nil {
				for _, other := range list {
					taken[snap] = taken[snap] || t.by[other.name+"@"+snap+own(of)] != nil
				}
			}
		}
	}
	for _, l := range slices.Backward(list) {
		for _, sn := range l.keep {
			if _, snap := sn.split(); taken[snap] {
				steps = append(steps, []string{"zfs", "rename", sn.name, l.name + "@" + snap + own(sn)})
			}
		}
	}
	return steps
}

// isOwn reports whether renames gives that name, to one of the root's snapshots.
func (t *tree) isOwn(snap, top string) bool {
	return slices.ContainsFunc(t.snapshots(top), func(d *dataset) bool { return strings.HasSuffix(snap, "-"+d.value("guid")) })
}

// nameOf is the boot environment a dataset belongs to, or the dataset itself.
func (t *tree) nameOf(ds, root string) string {
	for top, boot := range t.boots {
		if within(ds, boot) {
			ds = top
		}
	}
	rest, is := strings.CutPrefix(ds, root+"/")
	if !is {
		return ds
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// onlyCloneOf reports whether nothing but top came of a snapshot, and of
// those of the same name below.
func onlyCloneOf(t *tree, origin *dataset, top string) bool {
	ds, snap := origin.split()
	for _, full := range t.names {
		owner, is := strings.CutSuffix(full, "@"+snap)
		if is && within(owner, ds) && (t.outside(t.by[full], top) || t.by[full].number("userrefs") > 0) {
			return false
		}
	}
	return true
}
