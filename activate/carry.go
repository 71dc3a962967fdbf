package activate

import (
	"context"

	"beadm/be"
)

// The seam to package sync: what a switch carries from one boot environment
// to another, and the records it needs for that.

func (s *Session) cloned(ctx context.Context, to, from be.UUID, snapshotRoot string, running bool) error {
	return nil
}
func (s *Session) forget(uuid be.UUID) error                                     { return nil }
func (s *Session) beginRun(ctx context.Context, uuid be.UUID, root string) error { return nil }
func (s *Session) endRun(ctx context.Context, uuid be.UUID, root string, failed bool) error {
	return nil
}
func (s *Session) reconcileRunning(ctx context.Context, from, to be.UUID, fromRoot, toRoot string, strict bool) error {
	return nil
}
func (s *Session) reconcileEnded(ctx context.Context, from, to be.UUID, fromRoot, toRoot string, securityOnly bool) error {
	return nil
}
