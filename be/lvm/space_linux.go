package lvm

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// sharingTime is how long a look at a pool may take where a caller did not say:
// every block that is in use is written down there.
const sharingTime = 10 * time.Second

// sharing is what the volumes of the pool hold, alone and together; nil where
// that is not known. It takes a look at the pool's metadata as they are at one
// moment, which the kernel keeps for one reader at a time; without thin_dump(8),
// or if it takes too long, nothing is known of it.
func (s *Store) sharing(ctx context.Context, t *tree) *sharing {
	if s.knownSharing != nil && s.known != nil {
		return s.knownSharing
	}
	shares, err := s.readSharing(ctx, t)
	if err != nil {
		s.debugf("what volumes hold alone is not known: %v", err)
		return nil
	}
	if s.known != nil {
		s.knownSharing = shares
	}
	return shares
}

func (s *Store) readSharing(ctx context.Context, t *tree) (shares *sharing, err error) {
	pool := t.named(s.pool)
	// Its metadata can be read only while it is started.
	target := deviceName(s.vg, s.pool) + "-tpool"
	if pool == nil || !hasDevice(target) {
		return nil, errors.New("the pool is not started")
	}
	metadata := "/dev/mapper/" + deviceName(s.vg, s.pool) + "_tmeta"
	mine, err := locked(ctx, metadata)
	if err != nil {
		return nil, err
	}
	defer mine.Close()
	err = message(target, "reserve_metadata_snap")
	if errors.Is(err, unix.EBUSY) {
		// No beadm reads now, so one that was killed has left it; as long as it is
		// there nobody can look again, and the metadata grow.
		if err = message(target, "release_metadata_snap"); err == nil {
			err = message(target, "reserve_metadata_snap")
		}
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, message(target, "release_metadata_snap")) }()
	err = s.read(ctx, func(out io.Reader) (e error) {
		shares, e = parseSharing(out, pool.size)
		return e
	}, "thin_dump", "-m", metadata)
	return shares, err
}

// locked is a device with a lock that other processes of beadm respect, and that
// ends with this one.
func locked(ctx context.Context, device string) (*os.File, error) {
	f, err := os.Open(device)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, &os.PathError{Op: "flock", Path: device, Err: err}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// hasDevice says whether device mapper has one of that name.
func hasDevice(name string) bool {
	list, _ := filepath.Glob("/sys/class/block/dm-*/dm/name")
	for _, file := range list {
		if readLine(file) == name {
			return true
		}
	}
	return false
}

// alone is what volumes hold together and no other does, be.SpaceUnknown if that
// is not known.
func (s *Store) alone(shares *sharing, list ...*volume) int64 {
	var ids []int
	for _, v := range list {
		if v.pool != s.pool {
			return be.SpaceUnknown
		}
		ids = append(ids, v.thinID)
	}
	if shares == nil {
		return be.SpaceUnknown
	}
	return shares.alone(ids...)
}

// Frees reads the pool's metadata once, however many are named.
func (s *Store) Frees(ctx context.Context, names []string) (be.Frees, error) {
	t, err := s.scan(ctx)
	var gone []*volume
	for _, name := range names {
		if err == nil {
			gone, err = s.without(t, name, gone)
		}
	}
	if err != nil {
		return be.Frees{AtLeast: true}, problem(err, "cannot see what destroying would free")
	}
	if len(gone) == 0 {
		return be.Frees{}, nil
	}
	bytes := s.alone(s.sharing(ctx, t), gone...)
	if bytes == be.SpaceUnknown {
		return be.Frees{AtLeast: true}, nil
	}
	return be.Frees{Bytes: bytes}, nil
}

// Spaces reads the pool's metadata once.
func (s *Store) Spaces(ctx context.Context) (map[string]int64, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return nil, problem(err, "cannot see what the boot environments in %s hold", s.Location())
	}
	shares := s.sharing(ctx, t)
	spaces := map[string]int64{}
	for _, v := range t.list {
		if shares == nil || !s.isBE(v) {
			continue
		}
		snapshots, origin := t.goWith(v, nil)
		all := append(snapshots, v)
		if origin != nil {
			all = append(all, origin)
		}
		spaces[decode(v.name)] = s.alone(shares, all...)
	}
	return spaces, nil
}

// without are those in gone and what goes with one more boot environment or
// BE@SNAP.
func (s *Store) without(t *tree, name string, gone []*volume) ([]*volume, error) {
	if of, snap, is := be.SplitSnapshot(name); is {
		v, err := s.in(t, of)
		if err != nil {
			return nil, err
		}
		if v, err = snapshotIn(t, v.tag(tagUUID), of, snap); err != nil {
			return nil, err
		}
		return append(gone, v), nil
	}
	v, err := s.in(t, name)
	if err != nil || slices.Contains(gone, v) {
		return gone, err
	}
	snapshots, origin := t.goWith(v, gone)
	gone = append(append(gone, snapshots...), v)
	if origin != nil {
		gone = append(gone, origin)
	}
	return gone, nil
}

// goWith are the snapshots of a boot environment, and the automatic one that it
// was the last to come of when those in gone are gone; nil if there is none.
func (t *tree) goWith(v *volume, gone []*volume) (snapshots []*volume, origin *volume) {
	owner := v.tag(tagUUID)
	origin = t.find(func(o *volume) bool {
		return v.originUUID != "" && o.uuid == v.originUUID && o.isAuto() && o.tag(tagOf) != owner && !t.hasClones(o, append(gone, v))
	})
	return t.snapshots(owner), origin
}
