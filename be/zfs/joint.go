package zfs

import (
	"context"
	"strings"

	"beadm/be"
)

// Pool is the pool: zfs-snapshot(8) takes snapshots within one as one transaction.
func (s *Store) Pool() string { return s.pool }

// SnapshotJointly makes automatic snapshots of several roots, of any stores in
// this pool, and of what is below them.
func (s *Store) SnapshotJointly(ctx context.Context, snap string, locations []string) error {
	argv := []string{"zfs", "snapshot", "-r", "-o", propAuto + "=create"}
	for _, ds := range locations {
		if !within(ds, s.pool) || ds == s.pool || strings.ContainsRune(ds, '@') {
			return be.E(be.Usage, "cannot snapshot %s with others of pool %s: it is no dataset in it", ds, s.pool)
		}
		argv = append(argv, ds+"@"+snap)
	}
	err := be.CheckSnapshotName(snap)
	if err == nil && len(locations) > 0 {
		err = s.change(ctx, argv...)
	}
	return problem(err, "cannot snapshot %d boot environments of pool %s as one", len(locations), s.pool)
}
