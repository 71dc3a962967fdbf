package activate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/share"
)

// ShareSnapshot is one of the shared data.
type ShareSnapshot struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes"` // that destroying it alone would free
	// For says what it was made for: "activation of NEW", "failed trial of NEW",
	// "switch to NEW", "before a restore"; empty for one that was made by hand.
	For string `json:"for,omitempty"`
	// With are directories that are file systems of their own, of which there is
	// a snapshot of that name too.
	With []string `json:"with,omitempty"`
}

// beforeRestore stands where the snapshot of a switch names its activation.
const beforeRestore = "restore"

// ShareSnapshots lists the snapshots of the shared data, oldest first.
func (t *Target) ShareSnapshots(ctx context.Context) ([]ShareSnapshot, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all, err := s.snapshotsOfShare(ctx)
	if err != nil {
		return nil, err
	}
	list := []ShareSnapshot{}
	switches, noHistory := s.switches()
	for _, snap := range all {
		one := ShareSnapshot{Name: snap.Name, Created: snap.Created, Bytes: snap.Space}
		if m, ok := s.Store.(be.SnapshotMeasurer); ok && snap.Space == 0 {
			if one.Bytes, err = m.VolumeSnapshotSpace(ctx, be.ShareVolume, snap.Name); be.KindOf(err) == be.NotFound {
				continue // destroyed meanwhile
			} else if err != nil {
				return nil, err
			}
		}
		if of, _, ok := share.ParseSnapshotName(snap.Name); ok {
			if one.For = switches[of]; one.For == "" {
				one.For = "a switch"
			}
		}
		list = append(list, one)
	}
	return list, errors.Join(noHistory, s.snapshotsWith(ctx, list))
}

// snapshotsWith puts those of separate directories to those of the shared data.
func (s *Session) snapshotsWith(ctx context.Context, list []ShareSnapshot) error {
	for _, at := range s.State.Separate {
		all, err := s.Store.VolumeSnapshots(ctx, at.Volume)
		if be.KindOf(err) == be.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		for _, snap := range all {
			i := slices.IndexFunc(list, func(one ShareSnapshot) bool { return one.Name == snap.Name })
			if i < 0 {
				continue // somebody else's
			}
			list[i].With = append(list[i].With, at.Path)
			bytes := snap.Space
			if m, ok := s.Store.(be.SnapshotMeasurer); ok && bytes == 0 {
				if bytes, err = m.VolumeSnapshotSpace(ctx, at.Volume, snap.Name); err != nil && be.KindOf(err) != be.NotFound {
					return err
				}
			}
			list[i].Bytes += bytes
		}
	}
	return nil
}

// switches are what activations were, by their token.
func (s *Session) switches() (map[string]string, error) {
	of := map[string]string{beforeRestore: "before a restore"}
	if s.Dir == nil {
		return of, nil
	}
	events, err := s.Dir.History()
	for _, e := range events {
		if token, ok := strings.CutPrefix(e.Detail, "activation "); ok {
			of[token] = "activation of " + e.BE
		}
	}
	for uuid, known := range s.State.BEs {
		if known.Switch != "" && of[known.Switch] == "" { // without a trial the boot gave it its name
			of[known.Switch] = "switch to " + s.nameOf(context.Background(), uuid)
		}
	}
	if t := s.State.Trial; t != nil {
		of[t.Activation] = "trial of " + s.nameOf(context.Background(), t.BE)
	}
	for _, f := range s.State.Failures {
		of[f.Activation] = "failed trial of " + f.Name
	}
	return of, err
}

func (s *Session) snapshotsOfShare(ctx context.Context) ([]be.Snapshot, error) {
	if !s.Store.Caps().Snapshots {
		return nil, be.E(be.NoStore, "%s has no snapshots", s.Store.Location())
	}
	exists, err := s.hasShare(ctx)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, be.E(be.NoStore, "there is no shared data: beadm share init moves it into one place")
	}
	return s.Store.VolumeSnapshots(ctx, be.ShareVolume)
}

// SnapshotShare makes a snapshot of the shared data, named name or, if that is
// empty, by the time; it is kept until it is destroyed by hand. It returns its
// name.
func (t *Target) SnapshotShare(ctx context.Context, name string, dryRun bool) (string, error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if name == "" {
		name = "by-hand-" + time.Now().UTC().Format("20060102T150405Z")
	}
	if err := be.CheckSnapshotName(name); err != nil {
		return "", err
	}
	if _, _, ours := share.ParseSnapshotName(name); ours {
		return "", be.E(be.Usage, "cannot name a snapshot %s: beadm names those of switches like that, and destroys them; choose another name", name)
	}
	all, err := s.snapshotsOfShare(ctx)
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(all, func(snap be.Snapshot) bool { return snap.Name == name }) {
		return "", be.E(be.InUse, "there is a snapshot %s of the shared data: choose another name", name)
	}
	if dryRun {
		s.Report.Would("make snapshot " + name + " of the shared data")
		return name, nil
	}
	if err := s.keepSeparate(ctx); err != nil {
		return "", err
	}
	if _, err := s.Store.SnapshotVolume(ctx, be.ShareVolume, name); err != nil {
		return "", err
	}
	s.record("share snapshot", "", name)
	return name, s.snapshotSeparate(ctx, name)
}

// DestroyShareSnapshot destroys one; that of a failed trial that nobody has
// read of, and of one under way, are refused.
func (t *Target) DestroyShareSnapshot(ctx context.Context, name string, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.shareSnapshot(ctx, name); err != nil {
		return err
	}
	if of, _, ok := share.ParseSnapshotName(name); ok && s.neededActivations()[of] {
		return be.E(be.InUse, "cannot destroy snapshot %s: it belongs to a trial that is under way, or that failed and is not acknowledged, or to a rollback (beadm status)", name)
	}
	if dryRun {
		s.Report.Would("destroy snapshot " + name + " of the shared data")
		return nil
	}
	err = s.withSeparate(func(v be.Volume) error { return s.Store.DestroyVolumeSnapshot(ctx, v, name) })
	if err != nil {
		return err
	}
	s.record("share snapshot --destroy", "", name)
	return nil
}

func (s *Session) shareSnapshot(ctx context.Context, name string) (be.Snapshot, error) {
	all, err := s.snapshotsOfShare(ctx)
	if err != nil {
		return be.Snapshot{}, err
	}
	for _, snap := range all {
		if snap.Name == name {
			return snap, nil
		}
	}
	return be.Snapshot{}, be.E(be.NotFound, "there is no snapshot %q of the shared data: beadm share list shows those there are", name)
}

// ShareRestored is what RestoreShare did.
type ShareRestored struct {
	share.Restored
	At       string `json:"at"`               // where what was set aside is below
	Snapshot string `json:"snapshot"`         // that was restored from
	Before   string `json:"before,omitempty"` // the snapshot of what was, made first
}

// RestoreShare brings back what the snapshot holds at paths (share.Restore says
// how), after a snapshot of what is there now. Paths are those of the system
// (/var/mail/alice) or of the shared data (mail/alice). What was cut is begun
// again by the same command; no file is ever half written, but a mailbox, which
// the next command or boot finishes.
func (t *Target) RestoreShare(ctx context.Context, name string, paths []string, dryRun bool) (res ShareRestored, err error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return res, err
	}
	defer s.Close()
	if err := Allow(s.State, "share restore"); err != nil {
		return res, err
	}
	if len(paths) == 0 {
		return res, be.E(be.Usage, "give what to restore, such as /var/mail or /var/mail/alice")
	}
	of, in, err := s.placeOf(ctx, paths)
	if err != nil {
		return res, err
	}
	if _, err := s.shareSnapshot(ctx, name); err != nil {
		return res, err
	}
	live := s.openShared(ctx, of)
	if live == nil {
		return res, be.E(be.InUse, "cannot restore: the shared data is not mounted at %s; mount it, or boot, first", of.at())
	}
	live.Close()
	if dryRun {
		err := s.withSnapshotOf(ctx, of, name, func(dir string) error {
			if res.Restored, err = s.restoreFrom(ctx, of, dir, in, "", 0, true); err == nil {
				res.Snapshot, res.At = name, of.at()
			}
			return err
		})
		return res, err
	}
	now := time.Now()
	if res, err = s.restore(ctx, of, name, in, now, 0); err != nil {
		return res, err
	}
	if len(res.Locked) > 0 {
		return res, be.E(be.InUse, "not restored, because another program has it locked: %s; do it again", strings.Join(allPrintable(res.Locked), ", "))
	}
	return res, nil
}

// restore brings back what the snapshot holds at paths in the shared data, after
// a snapshot of what is there; asked names that and what is set aside.
func (s *Session) restore(ctx context.Context, of shared, name string, paths []string, asked time.Time, patience time.Duration) (res ShareRestored, err error) {
	err = s.withSnapshotOf(ctx, of, name, func(dir string) error {
		paths, err := namesAt(dir, paths)
		if err != nil {
			return err
		}
		if err := share.Holds(dir, paths); err != nil {
			return err
		}
		if res.Before, err = s.newSnapshotName(ctx, asked); err != nil {
			return err
		}
		if err := s.snapshotAll(ctx, of, res.Before); err != nil {
			return be.E(be.KindOf(err), "cannot restore before there is a snapshot of what is: %w", err)
		}
		res.Snapshot, res.At = name, of.at()
		res.Restored, err = s.restoreFrom(ctx, of, dir, paths, asked.UTC().Format("2006-01-02T150405Z"), patience, false)
		did := fmt.Sprintf("%s from %s: %d messages into %d mailboxes, %d brought back, %d set aside", strings.Join(paths, " "), name, res.Messages, len(res.Mailboxes), res.Brought, len(res.SetAside))
		if err != nil {
			s.record("share restore", "", did+"; not to its end: "+err.Error())
			return be.E(be.KindOf(err), "%w; what was restored until then stays, what was before is in snapshot %s: mend the cause and do it again", err, res.Before)
		}
		s.record("share restore", "", did)
		return nil
	})
	return res, err
}

// restoreFrom is share.Restore from the snapshot mounted at dir.
func (s *Session) restoreFrom(ctx context.Context, of shared, dir string, paths []string, aside string, patience time.Duration, dryRun bool) (share.Restored, error) {
	live := s.openShared(ctx, of)
	if live == nil {
		return share.Restored{}, be.E(be.InUse, "cannot restore: the shared data is not mounted at %s", of.at())
	}
	defer live.Close()
	paths, err := namesAt(dir, paths)
	if err != nil {
		return share.Restored{}, err
	}
	if err := share.Holds(dir, paths); err != nil {
		return share.Restored{}, err
	}
	return share.Restore(ctx, share.RestoreOptions{
		Snap: dir, Live: openPath(live), Paths: paths, Aside: aside, Patience: patience, DryRun: dryRun,
	})
}

// newSnapshotName is of what is before a restore; two may be in one second.
func (s *Session) newSnapshotName(ctx context.Context, at time.Time) (string, error) {
	for ; ; at = at.Add(time.Second) {
		name := share.SnapshotName(beforeRestore, at)
		_, err := s.shareSnapshot(ctx, name)
		if be.KindOf(err) == be.NotFound {
			return name, nil
		}
		if err != nil {
			return "", err
		}
	}
}

func allPrintable(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = rooted.Printable(p)
	}
	return out
}

// pathInShare is p, as the system or the shared data names it, in the shared
// data.
func (s *Session) pathInShare(ctx context.Context, p string) (string, error) {
	if rest, ok := strings.CutPrefix(p, share.MountPoint+"/"); ok {
		return rest, nil
	}
	if !strings.HasPrefix(p, "/") {
		return p, nil
	}
	paths, err := share.Status(ctx, s.Root, nil)
	if err != nil {
		return "", err
	}
	for _, one := range paths {
		if one.State != share.Linked {
			continue
		}
		if p == one.Path || p == one.Path+"/" {
			return one.Name, nil
		}
		if rest, ok := strings.CutPrefix(p, one.Path+"/"); ok {
			return one.Name + "/" + rest, nil
		}
	}
	return "", be.E(be.Usage, "cannot restore %s: it is not in the shared data; beadm share status shows what is", rooted.Printable(p))
}

// finishRestore finishes the mailboxes that restores were writing when they were
// cut, and returns the path of one, empty if there was none.
func (s *Session) finishRestore(ctx context.Context) (mailbox string) {
	all := []shared{sharedData}
	for _, one := range s.State.Separate {
		all = append(all, shared{one.Volume, one.Path})
	}
	for _, of := range all {
		live := s.openShared(ctx, of)
		if live == nil {
			continue
		}
		one, err := share.FinishRestore(openPath(live))
		live.Close()
		if err != nil {
			s.Report.Warn("%v", err)
		}
		mailbox = cmp.Or(mailbox, one)
	}
	return mailbox
}

// at is its place, as the system names it.
func (of shared) at() string { return cmp.Or(of.path, share.MountPoint) }

// snapshotAll makes a snapshot of that, and one of the shared data, by which it
// is listed.
func (s *Session) snapshotAll(ctx context.Context, of shared, name string) error {
	if _, err := s.Store.SnapshotVolume(ctx, be.ShareVolume, name); err != nil || of == sharedData {
		return err
	}
	_, err := s.Store.SnapshotVolume(ctx, of.volume, name)
	return err
}

// neededActivations are those whose snapshots somebody may still want.
func (s *Session) neededActivations() map[string]bool {
	keep := map[string]bool{}
	for _, f := range s.State.Failures {
		if !f.Acknowledged {
			keep[f.Activation] = true
		}
	}
	if t := s.State.Trial; t != nil {
		keep[t.Activation] = true
	}
	if r := s.State.Restore; r != nil {
		if of, _, ok := share.ParseSnapshotName(r.Snapshot); ok {
			keep[of] = true
		}
	}
	return keep
}
