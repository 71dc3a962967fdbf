//go:build !linux

package state

func flush(dir string) { SyncDir(dir) }
