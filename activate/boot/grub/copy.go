package grub

import (
	"context"
	"fmt"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/kernels"
	"beadm/activate/boot/mirror"
	"beadm/be"
)

var _ mirror.Copy = (*Loader)(nil)

// CopyEntry copies the menu entry, and the kernel if it is on GRUB's partition.
func (l *Loader) CopyEntry(ctx context.Context, from boot.Loader, id string) error {
	other, ok := from.(*Loader)
	if !ok {
		return fmt.Errorf("cannot copy an entry of %s to GRUB", from.Name())
	}
	text, err := other.readEntry(id)
	if err != nil {
		return err
	}
	if err := l.installed(); err != nil {
		return err
	}
	names := named(text)
	if have, err := l.readEntry(id); err == nil && string(have) == string(text) && l.kernels().There(names...) == nil {
		return nil
	}
	if len(names) > 0 {
		src, err := kernels.From(other.kernels(), names)
		if err != nil {
			return be.E(be.Unbootable, "cannot copy the kernel of %s: %w", id, err)
		}
		defer src.Close()
		if err := l.kernels().Bring(id, src, l.texts); err != nil {
			return err
		}
	}
	if err := l.putText(ctx, id, text); err != nil {
		return err
	}
	return l.kernels().Drop(l.texts)
}

// FollowDefault is SetDefault: the token is in env.
func (l *Loader) FollowDefault(ctx context.Context, id string) error { return l.SetDefault(ctx, id) }

// withSelf has a grub.cfg tell every kernel which of several partitions it was
// read from: self is what the partition is called.
func withSelf(config []byte, self string) []byte {
	const before = "set btrfs_relative_path=n\n"
	text := string(config[:strings.LastIndex(string(config), sealMark)])
	if _, err := word("name of the partition", self); self == "" || err != nil || strings.ContainsAny(self, "=;") {
		return config
	}
	return seal(strings.Replace(text, before, before+fmt.Sprintf("set beadm_loader='%s=%s'\n", boot.ArgLoader, self), 1))
}
