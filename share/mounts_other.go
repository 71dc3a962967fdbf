//go:build !linux

package share

import "beadm/be/rooted"

// mountsBelow: the caller compares devices instead, and the copier refuses
// what is mounted below.
func fsAt(*rooted.Root, string) string { return "" }

func mountsBelow(*rooted.Root, string) ([]string, error) { return nil, nil }
