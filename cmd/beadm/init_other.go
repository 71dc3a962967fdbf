//go:build !linux

package main

// earlyInit is Linux' alone: elsewhere boot has its place in the system's own
// init.
func earlyInit([]string) int { return 1 }
