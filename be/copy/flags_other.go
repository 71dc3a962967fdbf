//go:build !linux

package copier

import "os"

const flagsOfContent, flagsOfUse, flagsOfGuard = 0, 0, 0

func flagsOf(int) uint32                 { return 0 }
func setFlags(int, uint32, uint32) error { return nil }
func guard(int, string, uint32) error    { return nil }
func lettersOf(uint32) string            { return "" }
func flagsFrom(string) (uint32, error)   { return 0, nil }

// Unguard is for systems whose flags are copied.
func Unguard(*os.File) error { return nil }

// Guarded is for systems whose flags are copied.
func Guarded(*os.File) bool { return false }
