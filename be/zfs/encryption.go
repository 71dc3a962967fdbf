package zfs

import (
	"context"
	"strings"

	"beadm/be"
)

var _ be.Sharer = (*Store)(nil)

// MayShare is of kind Decision where it would not be encrypted as the boot
// environments are.
func (s *Store) MayShare(ctx context.Context) error {
	ds, err := s.volume(be.ShareVolume)
	if err != nil {
		return err
	}
	there, err := s.exists(ctx, ds)
	if err == nil && !there {
		err = s.keepsSecret(ctx, ds, shareMountpoint)
	}
	return problem(err, "cannot share directories")
}

// keepsSecret refuses to make a volume where what comes there out of the boot
// environments would not be encrypted, or by another key than there.
func (s *Store) keepsSecret(ctx context.Context, ds, mountpoint string) error {
	const by = "encryptionroot"
	above, err := s.read(ctx, "filesystem", 0, parent(ds), by)
	if err != nil {
		if strings.Contains(err.Error(), "invalid property") {
			return nil // a ZFS that encrypts nothing
		}
		return err
	}
	all, err := s.read(ctx, "filesystem", -1, s.root, by)
	if err != nil {
		return err
	}
	key := above.by[parent(ds)].value(by)
	for _, name := range all.names {
		if name == s.root {
			continue
		}
		if has := all.by[name].value(by); has != "" && has != "-" && has != key {
			return be.E(be.Decision, "%s is encrypted by a key that %s would not have: make that yourself, encrypted, with canmount=noauto and mountpoint=%s", name, ds, mountpoint)
		}
	}
	return nil
}
