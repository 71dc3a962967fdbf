package lvm

import (
	"context"
	"errors"

	"beadm/be"
)

// Destroy removes the snapshots of the boot environment, then its volume, then
// the automatic snapshot that it came from. From its first step on it is
// Incomplete; a second Destroy finishes what an interrupted one began.
func (s *Store) Destroy(ctx context.Context, name string, dryRun bool) (be.DestroyReport, error) {
	report, err := s.destroy(ctx, name, dryRun)
	return report, problem(err, "cannot destroy boot environment %s", name)
}

func (s *Store) destroy(ctx context.Context, name string, dryRun bool) (report be.DestroyReport, err error) {
	t, err := s.scan(ctx)
	if err != nil {
		return report, err
	}
	v, err := s.in(t, name)
	if err != nil {
		return report, err
	}
	if s.isNow(v) {
		return report, be.E(be.InUse, "it is running")
	}
	if err := notMounted(v, "it"); err != nil {
		return report, err
	}
	snapshots, origin := t.goWith(v, nil)
	for _, sn := range snapshots {
		if err := notMounted(sn, "its snapshot "+sn.tag(tagSnap)); err != nil {
			return report, err
		}
	}
	report.Removes = append(report.Removes, v.path())
	for _, sn := range snapshots {
		report.Removes = append(report.Removes, name+"@"+sn.tag(tagSnap))
	}
	if origin != nil {
		report.Removes = append(report.Removes, s.originOf(t, v))
	}
	report.AtLeast = true // Frees knows
	if dryRun {
		return report, nil
	}
	marked := v.tag(tagIncomplete) == ""
	if marked {
		if err := s.retag(ctx, v, nil, []string{tagIncomplete + "destroy"}); err != nil {
			return report, err
		}
	}
	for i, r := range append(snapshots, v) {
		err := ctx.Err()
		if err == nil {
			err = s.remove(ctx, r)
		}
		if err != nil {
			// One that is in use where it cannot be seen stays whole.
			if i == 0 && marked {
				undoing, cancel := settled(ctx)
				defer cancel()
				err = errors.Join(err, s.retag(undoing, v, []string{tagIncomplete + "destroy"}, nil))
			}
			return report, err
		}
	}
	if origin != nil && notMounted(origin, "") == nil {
		return report, s.remove(ctx, origin)
	}
	return report, nil
}
