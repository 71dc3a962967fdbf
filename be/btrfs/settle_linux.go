package btrfs

import (
	"context"
	"fmt"
	"time"
)

// Settle waits for the kernel's thread that clears deleted subvolumes, and for
// the commit after that, with which what they held is free: `btrfs subvolume
// sync` of btrfs-subvolume(8).
func (s *Store) Settle(ctx context.Context) error {
	for {
		deleted, err := search(s.fd(), rootTreeID, orphans, orphans)
		if err != nil {
			return fmt.Errorf("cannot see what is still being deleted: %w", err)
		}
		// Unlike syncfs it wakes that thread.
		if err := ioctl(s.fd(), iocSync, nil); err != nil {
			return fmt.Errorf("cannot sync the file system: %w", err)
		}
		if len(deleted) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
