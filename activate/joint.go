package activate

import (
	"context"
	"time"

	"beadm/be"
	"beadm/be/journal"
)

// Joint is one automatic snapshot of boot environments of several targets, made
// in one transaction of the pool that they are in. A Create that clones one of
// them clones that; nil: each makes a snapshot of its own.
type Joint struct {
	snap string
	at   time.Time // not after it was made
	of   map[string]*JointSource
}

// has reports whether b is in it.
func (j *Joint) has(b be.BE) bool { return j != nil && j.of[b.Location] != nil }

// Leave takes away those of the snapshots that nothing was cloned of; the stores
// of the sources must still be open.
func (j *Joint) Leave(ctx context.Context) {
	for _, src := range j.of {
		// One that has clones is refused; whatever else fails here, the next create
		// or destroy beside it does.
		_ = src.store.DestroySnapshot(ctx, src.b.Name, j.snap)
	}
}

type jointStore interface {
	be.Store
	be.JointSnapshotter
}

// JointSource is a boot environment that is to be in a Joint.
type JointSource struct {
	store jointStore
	b     be.BE
}

// JointSource is what a Create of name would clone for from; nil if its store
// takes no snapshots together with others, or name is there, or from is a
// snapshot or not there. What an earlier command left open in the target is
// recovered.
func (t *Target) JointSource(ctx context.Context, name, from string) *JointSource {
	if _, ok := t.Store.(be.JointSnapshotter); !ok {
		return nil
	}
	s, err := t.write(ctx, false)
	if err != nil {
		return nil
	}
	defer s.Close()
	if _, err := s.find(ctx, name); be.KindOf(err) != be.NotFound {
		return nil
	}
	return s.jointSource(ctx, from)
}

func (s *Session) jointSource(ctx context.Context, from string) *JointSource {
	store, ok := s.Store.(jointStore)
	if !ok {
		return nil
	}
	var b be.BE
	var err error
	if from == "" {
		b, err = s.running(ctx)
	} else {
		b, err = s.find(ctx, from)
	}
	if err != nil || b.Incomplete {
		return nil
	}
	return &JointSource{store, b}
}

// SnapshotJointly snapshots those of the sources, of which some may be nil, that
// share a pool with others, and names the snapshots snap. It fails only if ctx has
// ended: what could not be snapshotted so is not in it.
func SnapshotJointly(ctx context.Context, snap string, sources []*JointSource, report Reporter) (*Joint, error) {
	j := &Joint{snap: snap, at: time.Now(), of: map[string]*JointSource{}}
	pools := map[string][]*JointSource{}
	for _, src := range sources {
		if src != nil {
			pools[src.store.Pool()] = append(pools[src.store.Pool()], src)
		}
	}
	for pool, list := range pools {
		if len(list) < 2 {
			continue
		}
		var locations []string
		for _, src := range list {
			locations = append(locations, src.b.Location)
		}
		if err := list[0].store.SnapshotJointly(ctx, snap, locations); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			report.Warn("%v: each gets one of its own", err)
			continue
		}
		report.Note("%d snapshots in pool %s, made as one: %s", len(list), pool, snap)
		for _, src := range list {
			j.of[src.b.Location] = src
		}
	}
	return j, nil
}

// snapshotWithGuests is the first step of a create with guests: what of them and
// of the host is in one pool is one instant. What a cut leaves of it, the next
// create or destroy beside it takes away.
func (s *Session) snapshotWithGuests(args createArgs) []journal.Step {
	if _, ok := s.Store.(be.JointSnapshotter); !ok || len(args.Guests) == 0 || !args.Auto {
		return nil
	}
	return []journal.Step{{
		Name: "snapshot the host and its guests, those of one pool as one",
		Do: func(ctx context.Context) error {
			sources := []*JointSource{s.jointSource(ctx, args.Source)}
			for _, g := range args.Guests {
				err := s.inGuest(ctx, g, func(ctx context.Context, t *Target) error {
					sources = append(sources, t.JointSource(ctx, g.Name, ""))
					return nil
				})
				if err != nil {
					return err
				}
			}
			var err error
			s.joint, err = SnapshotJointly(ctx, args.Snapshot, sources, s.Report)
			return err
		},
	}}
}

// jointSnapshotPrefix begins the names of automatic snapshots.
const jointSnapshotPrefix = "beadm-create-"

// JointName is a new name for SnapshotJointly.
func JointName() string { return jointSnapshotPrefix + be.NewToken() }
