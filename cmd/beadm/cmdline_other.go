//go:build !linux

package main

import (
	"context"
	"runtime"

	"beadm/be"
)

// cmdline is what the loader told the kernel, in the words of a Linux kernel's
// command line.
func cmdline(ctx context.Context, store be.Store) ([]byte, error) {
	if store == nil {
		return nil, nil // nobody to ask
	}
	all, err := store.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range all {
		if b.Running && store.Caps().Kind == "zfs" {
			return poolLoader(runtime.GOOS, store).Claim(ctx, b.Location)
		}
	}
	return nil, nil
}
