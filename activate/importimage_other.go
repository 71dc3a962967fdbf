//go:build !linux

package activate

import (
	"context"
	"os"

	"beadm/be"
)

// openImage is Linux's.
func (s *Session) openImage(_ context.Context, _ *source, path string, _ *os.File) error {
	return be.E(be.Usage, "%s is no export and no archive (tar); an image has to be mounted first, and its directory given with -f", path)
}
