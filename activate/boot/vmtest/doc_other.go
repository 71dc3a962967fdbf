//go:build !linux

// Package vmtest needs Linux.
package vmtest
