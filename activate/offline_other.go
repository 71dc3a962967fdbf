//go:build !linux

package activate

import (
	"context"
	"errors"
	"os"
	"runtime"

	"beadm/be"
)

// OfflineStage is not used here.
const OfflineStage = "offline-stage"

// canRunOffline: that needs Linux' name spaces, so far.
func canRunOffline() error {
	return be.E(be.Other, "nothing can be run in a boot environment on %s yet: create it, mount it and use the package manager's own root option", runtime.GOOS)
}

func runOffline(context.Context, string, OfflineCommand) error { return canRunOffline() }

func isTerminal(*os.File) bool { return false }

// OfflineMain is not used here.
func OfflineMain(string) (int, error) { return 2, errors.New("not available here") }
