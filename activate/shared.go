package activate

import (
	"context"
	"path/filepath"
	"time"

	"beadm/be"
)

// The seam to package share: the data that all boot environments share.

// sharePoint is where the shared dataset is mounted, as seen in a root.
const sharePoint = "var/share"

func (s *Session) mountShare(ctx context.Context, running be.BE, trial bool) error {
	exists, err := s.Store.VolumeExists(ctx, be.ShareVolume)
	if err != nil || !exists {
		return err
	}
	return s.Store.MountVolume(ctx, be.ShareVolume, filepath.Join(s.Root, sharePoint))
}

func (s *Session) snapshotShare(ctx context.Context, activation string) error {
	exists, err := s.Store.VolumeExists(ctx, be.ShareVolume)
	if err != nil || !exists {
		return err
	}
	_, err = s.Store.SnapshotVolume(ctx, be.ShareVolume, "beadm-"+time.Now().UTC().Format("20060102T150405Z")+"-"+activation)
	if be.KindOf(err) == be.InUse {
		return nil // made before a power cut
	}
	return err
}

func (s *Session) stage(ctx context.Context, root string) error      { return nil }
func (s *Session) unstage(ctx context.Context, root string) error    { return nil }
func (s *Session) adoptShare(ctx context.Context, root string) error { return nil }
func (s *Session) arrive(ctx context.Context) error                  { return nil }
