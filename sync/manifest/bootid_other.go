//go:build !linux

package manifest

// bootID names this boot of the machine; nothing where it has no name.
func bootID() string { return "" }
