package activate

import (
	"context"
	"errors"
	"runtime"
	"time"

	"beadm/activate/left"
	"beadm/be"
	"beadm/be/state"
	reconcile "beadm/sync"
	"beadm/sync/synclist"
)

// What a switch would leave behind is said, and somebody's data is not left
// without being told to (package left).

// tick is by how much a file's time may be behind the clock that is read here.
const tick = 20 * time.Millisecond

// How long a look may take where nothing may wait for it for long.
const (
	rollbackLook = time.Minute
	bootLook     = 15 * time.Second
)

// upTo is the moment up to which a boot environment has what the machine
// wrote. Zero: nobody knows, as of one that an older beadm made.
func (s *Session) upTo(uuid be.UUID) time.Time {
	if k := s.State.BEs[uuid]; k != nil {
		return k.UpTo
	}
	return time.Time{}
}

// lacksSince is upTo for a boot environment that does not run. One that has
// run ended before this boot began. Where it seems to have ended later, the
// clock was ahead then (rtc in local time, before services), nobody knows by how
// much: zero.
func (s *Session) lacksSince(in be.BE) time.Time {
	since := s.upTo(in.UUID)
	if k := s.State.BEs[in.UUID]; s.Root == "/" && k != nil && !k.RanFrom.IsZero() {
		if began := time.Now().Add(-sinceBoot()); began.Before(since) {
			return time.Time{}
		}
	}
	return since
}

// cloneUpTo is that of a clone that is made now of src as it is, or of its
// snapshot snap.
func (s *Session) cloneUpTo(ctx context.Context, src be.BE, snap string) (time.Time, error) {
	if snap == "" && src.Running {
		return time.Now().Add(-tick).UTC(), nil
	}
	k := s.State.BEs[src.UUID]
	if k == nil {
		k = &state.Known{}
	}
	if snap == "" {
		return k.UpTo, nil
	}
	all, err := s.Store.Snapshots(ctx, src.Name)
	if err != nil {
		return time.Time{}, err
	}
	for _, sn := range all {
		if sn.Name == snap {
			return k.UpToAt(sn.Created, src.Running), nil
		}
	}
	return time.Time{}, nil
}

// lookBehind finds what out, mounted at outDir, wrote since and in, mounted at
// inDir, has not.
func lookBehind(ctx context.Context, out be.BE, outDir string, in be.BE, inDir string, since time.Time) ([]left.Place, error) {
	list, err := reconcile.List(outDir, runtime.GOOS)
	if err != nil {
		list = synclist.Builtin(runtime.GOOS) // what is wrong with it, the reconcile says
	}
	return left.Look{Old: outDir, New: inDir, Since: since, List: list, Own: out.Location, NewOwn: in.Location}.Places(ctx)
}

// sayLeft reports what a switch from the running boot environment to in leaves
// behind, and returns it. It changes nothing.
func (s *Session) sayLeft(ctx context.Context, running, in be.BE) (places []left.Place, err error) {
	err = s.lookInto(ctx, in, func(dir string) error {
		places, err = lookBehind(ctx, running, s.Root, in, dir, s.lacksSince(in))
		return err
	})
	if len(places) > 0 {
		s.Report.Left(running.Name, in.Name, places)
	}
	return places, err
}

// checkLeft is safety rule 5, for an activation: data is left only if leave
// says so.
func (s *Session) checkLeft(ctx context.Context, running, in be.BE, leave bool) ([]left.Place, error) {
	places, err := s.sayLeft(ctx, running, in)
	if err != nil && leave && ctx.Err() == nil {
		s.Report.Warn("%v", err)
		return places, nil
	}
	if err != nil {
		return nil, err
	}
	data := left.Data(places)
	if k := s.State.BEs[in.UUID]; len(data) > 0 && !leave && k != nil && k.Template != "" && k.UpTo.IsZero() {
		return nil, be.E(be.Decision, "cannot activate %s: it was made from %s and lacks data that is in %s alone: %s; "+
			"share its directory (beadm share add), put it on the synclist, mount it from the host, or give --leave-behind",
			in.Name, k.Template, running.Name, left.Few(data, 3))
	}
	if len(data) > 0 && !leave {
		return nil, be.E(be.Decision, "cannot activate %s: data that %s wrote would be left behind: %s; "+
			"give it a dataset of its own, share its directory of /var (beadm share init), put it on the synclist, or give --leave-behind",
			in.Name, running.Name, left.Few(data, 3))
	}
	return places, nil
}

// mentionLeftFor says what a rollback to uuid leaves behind. Nothing of it stops
// a rollback.
func (s *Session) mentionLeftFor(ctx context.Context, uuid be.UUID) {
	running, err := s.running(ctx)
	if err != nil || running.UUID == uuid {
		return
	}
	in, err := s.byUUID(ctx, uuid)
	if err == nil {
		looking, cancel := context.WithTimeout(ctx, rollbackLook)
		defer cancel()
		_, err = s.sayLeft(looking, running, in)
	}
	if err != nil {
		s.Report.Warn("%v", untimely(err))
	}
}

// leftAtBoot looks at what out, which ran last and is mounted at dir, wrote and
// the running boot environment has not. Of an activation only what was written
// since that has looked is new. It never holds a boot for long.
func (s *Session) leftAtBoot(ctx context.Context, out be.BE, dir string, in be.BE) {
	since := s.upTo(in.UUID)
	if t := s.State.Trial; t != nil && t.BE == in.UUID && !t.LookedAt.IsZero() {
		since = t.LookedAt
	}
	looking, cancel := context.WithTimeout(ctx, bootLook)
	defer cancel()
	places, err := lookBehind(looking, out, dir, in, s.Root, since)
	if err != nil {
		s.Report.Warn("%v", untimely(err))
	}
	if len(places) > 0 {
		s.Report.Left(out.Name, in.Name, places)
	}
	s.recordLeft(out.Name, in.Name, places)
	if data := left.Data(places); len(data) > 0 {
		l := &state.Left{From: out.Name, At: time.Now().UTC(), Places: []string{}}
		for i, p := range data {
			if i == mostKept {
				l.More = len(data) - i
				break
			}
			l.Places = append(l.Places, p.String())
		}
		s.State.Left = l
	}
}

// mostKept is how many places the state and the history name.
const mostKept = 20

func (s *Session) recordLeft(out, in string, places []left.Place) {
	if len(places) > 0 {
		s.record("left behind", in, "in "+out+": "+left.Few(places, mostKept))
	}
}

func untimely(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("not all could be looked through for what is left behind: it took too long")
	}
	return err
}
