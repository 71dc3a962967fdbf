package activate

import "context"

// sweep takes away what a command that was killed left mounted at our own
// places. Whoever holds the lock is the only one at work there.
func (s *Session) sweep(ctx context.Context) {
	for _, place := range []string{"snap", "new", "look", "last", "upgrade", "share"} {
		if dir := s.path(place); isMountPoint(dir) {
			if err := s.Store.UnmountDir(ctx, dir); err != nil {
				s.Report.Warn("an earlier command left %s mounted: %v", dir, err)
			}
		}
	}
}
