package main

import (
	"errors"

	"beadm/activate"
	"beadm/be"
)

func forceReset() { activate.ForceReset() }

// bootError gives a trial that cannot go on its exit code.
func bootError(err error) error {
	if errors.Is(err, activate.ErrTrialBoot) {
		return be.E(be.Unbootable, "%w", err)
	}
	return err
}
