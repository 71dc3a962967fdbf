package activate

import (
	"context"
	"time"

	"beadm/be"
)

// What takes longer to measure is not known: a list is looked at often, and who
// destroys waits once.
const (
	listTime  = 2 * time.Second
	freesTime = 10 * time.Second
)

// Frees is what comes back when boot environments, and snapshots as BE@SNAP, are
// destroyed one after another: all together, which is more than each alone.
func (t *Target) Frees(ctx context.Context, names ...string) (be.Frees, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return be.Frees{}, err
	}
	defer s.Close()
	return s.frees(ctx, names...)
}

// frees fails only where ctx was cancelled or something named is not there: that
// nobody knows what comes back is no reason not to destroy it.
func (s *Session) frees(ctx context.Context, names ...string) (frees be.Frees, err error) {
	unknown := be.Frees{AtLeast: true}
	if set, ok := s.Store.(be.SetDestroyer); ok {
		bounded, cancel := context.WithTimeout(ctx, freesTime)
		defer cancel()
		frees, err = set.Frees(bounded, names)
	} else {
		// What two of them share is not among what each alone frees.
		frees.AtLeast = len(names) > 1
		for _, name := range names {
			if _, _, isSnap := be.SplitSnapshot(name); isSnap {
				return unknown, nil
			}
			var report be.DestroyReport
			if report, err = s.Store.Destroy(ctx, name, true); err != nil {
				break
			}
			frees.Bytes, frees.AtLeast = frees.Bytes+report.Frees, frees.AtLeast || report.AtLeast
		}
	}
	switch {
	case ctx.Err() != nil:
		return unknown, ctx.Err()
	case err != nil && be.KindOf(err) == be.NotFound:
		return unknown, err
	case err != nil:
		return unknown, nil
	}
	return frees, nil
}

// wouldDestroy is Destroy as a dry run of one that may go.
func (s *Session) wouldDestroy(ctx context.Context, b be.BE) (report be.DestroyReport, err error) {
	if b.Mountpoint == "" {
		report, err = s.Store.Destroy(ctx, b.Name, true)
	} else {
		// The store, asked now, would refuse.
		s.Report.Would("unmount " + b.Name + " from " + b.Mountpoint)
		report.Removes = []string{b.Location}
	}
	if err != nil {
		return report, err
	}
	frees, err := s.frees(ctx, b.Name)
	report.Frees, report.AtLeast = frees.Bytes, frees.AtLeast
	return report, err
}

// Measure fills in the Space of those listed that nobody measured, as far as
// that takes no time to speak of.
func (t *Target) Measure(ctx context.Context, list []Listed) error {
	unknown := false
	for _, l := range list {
		unknown = unknown || l.Space == be.SpaceUnknown
	}
	if !unknown {
		return nil
	}
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	m, ok := s.Store.(be.SpaceMeasurer)
	if !ok {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	spaces, err := m.Spaces(bounded)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i := range list {
		if bytes, ok := spaces[list[i].Name]; ok && err == nil {
			list[i].Space = bytes
		}
	}
	return nil
}
