package mirror_test

import (
	"context"

	"beadm/activate/boot"
	"beadm/activate/boot/mirror"
	"beadm/be"
)

// mirrorThatIsFull takes no other kernel.
type mirrorThatIsFull struct{ mirror.Copy }

func (mirrorThatIsFull) Put(context.Context, boot.Entry) error {
	return be.E(be.Unbootable, "the ESP has no room")
}
func (mirrorThatIsFull) CopyEntry(context.Context, boot.Loader, string) error {
	return be.E(be.Unbootable, "the ESP has no room")
}
