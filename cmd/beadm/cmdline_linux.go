package main

import (
	"context"
	"os"

	"beadm/be"
)

// runtimeDir is where our mounts are made, root's alone.
const runtimeDir = "/run/beadm"

// cmdline is what the kernel was started with.
func cmdline(context.Context, be.Store) ([]byte, error) { return os.ReadFile("/proc/cmdline") }
