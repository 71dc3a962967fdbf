package activate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"beadm/be"
	"beadm/be/journal"
)

// Check looks at how the system is laid out, and whether the boot environments
// named, or else what runs, what boots next, the default and the previous one,
// could boot. It changes nothing; a boot environment that is not mounted is
// mounted read-only meanwhile. The worst come first.
func (t *Target) Check(ctx context.Context, names []string) ([]be.Finding, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all, err := s.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	list := slices.Concat(s.checkState(all), s.checkRoom(ctx))
	mounted, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read what is mounted: %w", err)
	}
	if s.isLive(mounted) {
		list = append(list, s.checkMounts(ctx, mounted)...)
	}
	if inspector, ok := s.Store.(be.Inspector); ok {
		more, err := inspector.Inspect(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	boots, err := s.checkBoots(ctx, all, names)
	if err != nil {
		return nil, err
	}
	list = append(list, boots...)
	order := []string{be.FindingError, be.FindingWarning, be.FindingNote}
	slices.SortStableFunc(list, func(a, b be.Finding) int {
		return cmp.Compare(slices.Index(order, a.Severity), slices.Index(order, b.Severity))
	})
	return list, ctx.Err()
}

// checkState is about beadm's own records.
func (s *Session) checkState(all []be.BE) (list []be.Finding) {
	if s.Dir == nil || s.State.Loader.Kind == "" {
		list = append(list, be.Finding{ID: "setup", Severity: be.FindingError, Text: "beadm is not set up: nothing can be activated", Remedy: "run beadm setup"})
	}
	if s.Dir != nil {
		if foreign, err := s.isForeign(); err != nil || foreign {
			f := be.Finding{ID: "foreign", Severity: be.FindingWarning, Text: s.Store.Location() + " was set up by another host", Remedy: "--foreign changes it from here"}
			if err != nil {
				f.Text, f.Remedy = err.Error(), ""
			}
			list = append(list, f)
		}
	}
	if s.Dir != nil {
		if rec, err := journal.Open(s.Dir); err != nil || rec != nil {
			list = append(list, be.Finding{ID: "open", Severity: be.FindingWarning, Text: "an operation was cut and is still open", Remedy: "run beadm recover"})
		}
	}
	of := map[be.UUID]string{}
	for _, b := range all {
		if b.Incomplete {
			list = append(list, be.Finding{ID: "incomplete", Severity: be.FindingWarning, Text: b.Name + " is incomplete: what made or destroyed it did not finish", Remedy: "run beadm recover, or beadm destroy " + b.Name})
		}
		if other, twice := of[b.UUID]; twice && b.UUID != "" {
			list = append(list, be.Finding{ID: "uuid", Severity: be.FindingError, Text: fmt.Sprintf("%s and %s have the same UUID, as copies made by another tool do", other, b.Name), Remedy: "destroy the copy, and clone it with beadm create"})
		}
		of[b.UUID] = b.Name
	}
	return list
}

// scarce is how much free space is worth a word.
const scarce = 1 << 30

func (s *Session) checkRoom(ctx context.Context) []be.Finding {
	free, err := s.Store.Free(ctx)
	switch {
	case err != nil:
		return []be.Finding{{ID: "room", Severity: be.FindingError, Text: err.Error()}}
	case free < room:
		return []be.Finding{{ID: "room", Severity: be.FindingError, Text: fmt.Sprintf("%s has %d MiB free: nothing can be created or activated", s.Store.Location(), free>>20), Remedy: "beadm prune, or destroy what is not needed"}}
	case free < scarce:
		return []be.Finding{{ID: "room", Severity: be.FindingWarning, Text: fmt.Sprintf("%s has %d MiB free: an upgrade may not fit", s.Store.Location(), free>>20), Remedy: "beadm prune --until-free 2G -n says what could go"}}
	}
	return nil
}

// isLive reports whether the root is one that runs, and not a directory that is
// only looked at.
func (s *Session) isLive(mounted []*mountinfo.Info) bool {
	m := mountOf(mounted, s.Root)
	return m != nil && m.Mountpoint == s.Root
}

// checkBoots says what keeps boot environments from booting.
func (s *Session) checkBoots(ctx context.Context, all []be.BE, names []string) (list []be.Finding, err error) {
	var want []be.BE
	for _, name := range names {
		b, err := s.find(ctx, name)
		if err != nil {
			return nil, err
		}
		want = append(want, b)
	}
	if s.Dir == nil || s.State.Loader.Kind == "" {
		return nil, nil // that is found already
	}
	next := s.State.Default
	if s.State.Trial != nil {
		next = s.State.Trial.BE
	}
	for _, b := range all {
		if len(names) == 0 && (b.Running || b.UUID != "" && slices.Contains([]be.UUID{next, s.State.Default, s.State.Previous}, b.UUID)) {
			want = append(want, b)
		}
	}
	for _, b := range want {
		if b.Incomplete {
			continue
		}
		if err := s.checkBootable(ctx, b); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			why := strings.TrimPrefix(err.Error(), "cannot activate "+b.Name+": ")
			list = append(list, be.Finding{ID: "boots", Severity: be.FindingError, Text: b.Name + " would not boot: " + why})
		}
	}
	return list, nil
}
