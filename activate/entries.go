package activate

import (
	"context"
	"fmt"
	"slices"

	"beadm/be"
)

// stale are the boot environments that have an entry by which the loader could
// not start them as things are: a feature of the pool that it does not know
// came into use, a kernel is gone. What boots by default is read whole: whatever
// is tried comes back to it.
func (s *Session) stale(ctx context.Context) ([]be.BE, error) {
	ids, err := s.Loader.Entries(ctx)
	if err != nil {
		return nil, err
	}
	all, err := s.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	var list []be.BE
	for _, b := range all {
		if b.UUID == "" || b.Incomplete || !slices.Contains(ids, b.ID()) {
			continue
		}
		if s.checkEntry(ctx, b, b.UUID == s.State.Default) != nil {
			list = append(list, b)
		}
	}
	return list, nil
}

// checkEntry says why the loader could not start b by the entry that it has. To
// read it whole takes as long as to load it.
func (s *Session) checkEntry(ctx context.Context, b be.BE, whole bool) error {
	root, err := s.Store.RootRef(ctx, b.Name)
	if err != nil {
		return err
	}
	if whole {
		return s.Loader.CheckEntryWhole(ctx, b.ID(), root)
	}
	return s.Loader.CheckEntry(ctx, b.ID(), root)
}

// mendEntries writes the stale entries again, as far as that is possible, and
// returns whose.
func (s *Session) mendEntries(ctx context.Context) (mended []string) {
	list, err := s.stale(ctx)
	if err != nil {
		s.Report.Warn("cannot see whether the boot menu can start what is in it: %v", err)
		return nil
	}
	if len(list) == 0 {
		return nil
	}
	if err := s.Store.Flush(ctx); err != nil {
		s.Report.Warn("%v", err)
	}
	for _, b := range list {
		if err := s.refreshEntry(ctx, b.UUID); err != nil {
			s.Report.Warn("the boot menu cannot start %s: %v", b.Name, err)
			continue
		}
		mended = append(mended, b.Name)
	}
	return mended
}

// mendStale fails if what a trial would come back to, or what is activated,
// cannot be started.
func (s *Session) mendStale(ctx context.Context, a activateArgs) error {
	if err := s.Store.Flush(ctx); err != nil {
		return err
	}
	for _, uuid := range a.Stale {
		err := s.refreshEntry(ctx, uuid)
		switch {
		case err == nil || be.KindOf(err) == be.NotFound:
		case uuid == a.UUID || uuid == a.Default && !a.Permanent:
			return fmt.Errorf("the loader could not start %s: %w", s.nameOf(ctx, uuid), err)
		default:
			s.Report.Warn("the boot menu cannot start %s: %v", s.nameOf(ctx, uuid), err)
		}
	}
	return nil
}

// unstartable says what is wrong with the entries of what may boot next.
func (s *Session) unstartable(ctx context.Context) (why []string) {
	if s.Loader == nil {
		return nil
	}
	if _, err := s.Loader.State(ctx); err != nil {
		return nil // others say that
	}
	next := []be.UUID{s.State.Default}
	if t := s.State.Trial; t != nil && t.BE != s.State.Default {
		next = append(next, t.BE)
	}
	for _, uuid := range next {
		b, err := s.byUUID(ctx, uuid)
		if err == nil {
			err = s.checkEntry(ctx, b, false)
		}
		if be.KindOf(err) == be.Unbootable {
			why = append(why, err.Error())
		}
	}
	return why
}
