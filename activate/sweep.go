package activate

import (
	"context"
	"os"
	"slices"

	"beadm/be"
)

// ownPlaces are where commands mount boot environments for themselves.
var ownPlaces = []string{"snap", "new", "look", "last", "upgrade", "share", "export", "image"}

// swept says that what is mounted at dir is only what a command that was killed
// left there, which the next one takes away.
func (s *Session) swept(dir string) bool {
	return slices.ContainsFunc(ownPlaces, func(place string) bool { return dir == s.path(place) })
}

// sweep takes away what a command that was killed left mounted at our own
// places. Whoever holds the lock is the only one at work there.
func (s *Session) sweep(ctx context.Context) {
	for _, place := range ownPlaces {
		dir := s.path(place)
		if isMountPoint(dir) {
			if err := s.Store.UnmountDir(ctx, dir); err != nil {
				s.Report.Warn("an earlier command left %s mounted: %v", dir, err)
			}
			continue
		}
		// Nothing can be mounted there any more. What it is nobody knows: it
		// goes with the boot.
		if list, err := os.ReadDir(dir); err == nil && len(list) > 0 {
			aside := dir + "-" + be.NewToken()
			if err := os.Rename(dir, aside); err != nil {
				s.Report.Warn("%s is in the way: %v", dir, err)
				continue
			}
			s.Report.Warn("something was written to %s while nothing was mounted there: it stands in %s", dir, aside)
		}
	}
}
