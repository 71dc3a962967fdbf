package zfs

import (
	"context"
	"errors"
	"strings"

	"beadm/be"
)

// snapshotBoots makes those of the boots in another pool, if this store was seen
// to have any: an instant before. What another store has Create makes up for.
func (s *Store) snapshotBoots(ctx context.Context, made *cloned, snap string, locations []string) error {
	if len(s.bootPools) == 0 {
		return nil
	}
	t, err := s.scan(ctx)
	if err != nil {
		return err
	}
	for _, ds := range locations {
		if boot := t.boots[ds]; boot != "" {
			if err := s.snapshotAuto(ctx, made, boot+"@"+snap); err != nil {
				return err
			}
		}
	}
	return nil
}

// joint is what SnapshotJointly gives its snapshots as propAuto.
const joint = "joint"

// Pool is the pool: zfs-snapshot(8) takes snapshots within one as one transaction.
func (s *Store) Pool() string { return s.pool }

// SnapshotJointly makes automatic snapshots of several roots, of any stores in
// this pool, and of what is below them.
func (s *Store) SnapshotJointly(ctx context.Context, snap string, locations []string) error {
	argv := []string{"zfs", "snapshot", "-r", "-o", propAuto + "=" + joint}
	for _, ds := range locations {
		if !within(ds, s.pool) || ds == s.pool || strings.ContainsRune(ds, '@') {
			return be.E(be.Usage, "cannot snapshot %s with others of pool %s: it is no dataset in it", ds, s.pool)
		}
		argv = append(argv, ds+"@"+snap)
	}
	err := be.CheckSnapshotName(snap)
	var made cloned
	if err == nil && len(locations) > 0 {
		if err = s.snapshotBoots(ctx, &made, snap, locations); err == nil {
			err = s.change(ctx, argv...)
		}
	}
	if err != nil {
		undoing, cancel := settled(ctx)
		defer cancel()
		for _, sn := range made.snaps {
			err = errors.Join(err, s.change(undoing, "zfs", "destroy", "-r", sn))
		}
	}
	return problem(err, "cannot snapshot %d boot environments of pool %s as one", len(locations), s.pool)
}
