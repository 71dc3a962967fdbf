//go:build !linux

package state

func flush(dir string) { Sync(dir) }
