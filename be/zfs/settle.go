package zfs

import "context"

// Settle waits until what was destroyed in the pool is free: zpool-wait(8).
func (s *Store) Settle(ctx context.Context) error {
	_, err := s.output(ctx, "zpool", "wait", "-t", "free", s.pool)
	return problem(err, "cannot wait until space of the pool %s is free", s.pool)
}
