//go:build !linux

package share

import "beadm/be/rooted"

// mountsBelow: the caller compares devices instead, and the copier refuses
// what is mounted below.
func mountsBelow(*rooted.Root, string) ([]string, error) { return nil, nil }
