package zfs

import (
	"context"

	"beadm/be"
)

// CanCreateFrom says, as an error, why nothing in other can be cloned here:
// clones are within one pool (zfs-clone(8)).
func (s *Store) CanCreateFrom(other be.Store) error {
	_, err := s.kin(other)
	return err
}

func (s *Store) kin(other be.Store) (*Store, error) {
	o, ok := other.(*Store)
	if !ok {
		return nil, be.E(be.NoStore, "%s is no ZFS, and nothing of it can be cloned to %s", other.Location(), s.root)
	}
	if o.pool != s.pool {
		return nil, be.E(be.NoStore, "%s and %s are in two pools, and nothing can be cloned from the one to the other", o.root, s.root)
	}
	return o, nil
}

// CreateFrom is Create of a snapshot that is in another store. The snapshot stays
// as long as the clone; a Destroy of what it is of promotes the clone.
func (s *Store) CreateFrom(ctx context.Context, other be.Store, opts be.CreateOptions) (be.BE, error) {
	from, err := s.kin(other)
	if err == nil && (opts.From == "" || opts.Snapshot == "") {
		err = be.E(be.Usage, "no snapshot to clone is named")
	}
	var b be.BE
	if err == nil {
		b, err = s.create(ctx, from, opts)
		from.memory.forget(from.root) // its snapshot has one more clone
	}
	if err != nil {
		return be.BE{}, problem(err, "cannot create boot environment %s", opts.Name)
	}
	return b, nil
}
