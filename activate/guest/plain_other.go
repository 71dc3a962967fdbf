//go:build !linux

package guest

import (
	"context"

	"beadm/be"
)

// IsPlain says no: there is no btrfs here.
func (p Place) IsPlain() bool { return false }

// KeepsPlain has no answer here.
func (p Place) KeepsPlain() (string, error) { return "", isSubvolume(p.Root) }

// AdoptPlain is for btrfs.
func (p Place) AdoptPlain(context.Context, string, func() error) (string, error) {
	return "", be.E(be.NoStore, "cannot adopt %s: there is no btrfs on this system", p.Root)
}

// EndPlain has nothing to end.
func (p Place) EndPlain() (string, error) { return "", nil }
