//go:build !linux

package activate

import (
	"context"
	"errors"
	"runtime"

	"beadm/be"
)

var errNoCommand = errors.New("no command")

// OfflineStage is not used here.
const OfflineStage = "offline-stage"

// RunOffline needs Linux' name spaces, so far.
func RunOffline(context.Context, string, UpgradeOptions) error {
	return be.E(be.Other, "upgrade is not available on %s yet: mount the boot environment and use its package manager's own root option", runtime.GOOS)
}

// OfflineMain is not used here.
func OfflineMain(string) (int, error) { return 2, errors.New("not available here") }
