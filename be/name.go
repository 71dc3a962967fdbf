// Package be holds the words of beadm: boot environments, the stores they
// live in, and the kinds of errors a user can meet. It does no work itself.
package be

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// MaxName is the longest name of a boot environment, in bytes.
const MaxName = 64

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}$`)

// CheckName reports why name cannot name a boot environment, as an error of
// kind Usage, or nil if it can.
func CheckName(name string) error {
	switch {
	case nameRule.MatchString(name):
		return nil
	case name == "":
		return E(Usage, "the name of a boot environment is empty: give one to %d characters", MaxName)
	case len(name) > MaxName:
		return E(Usage, "the name %q has %d characters: at most %d are allowed", name, len(name), MaxName)
	}
	return E(Usage, "the name %q is not valid: use letters, digits and . _ : + -, and begin with a letter or a digit", name)
}

// What every store can have: ZFS has no plus sign.
var snapshotRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// CheckSnapshotName reports why name cannot name a snapshot, as an error of kind
// Usage, or nil if it can.
func CheckSnapshotName(name string) error {
	if !snapshotRule.MatchString(name) {
		return E(Usage, "the snapshot name %q is not valid: use letters, digits and . _ : -, and begin with a letter or a digit", name)
	}
	return nil
}

// SplitSnapshot cuts BE@SNAP at its first @. snap is empty when there is none.
func SplitSnapshot(arg string) (name, snap string, isSnap bool) {
	return strings.Cut(arg, "@")
}

// UUID names a boot environment for as long as it exists, whatever its name.
// It is written in the 8-4-4-4-12 form of RFC 9562, lower case.
type UUID string

var uuidRule = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// NewUUID returns a random (version 4) UUID.
func NewUUID() UUID {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return UUID(fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]))
}

// ParseUUID accepts the canonical form in either case.
func ParseUUID(s string) (UUID, error) {
	s = strings.ToLower(s)
	if !uuidRule.MatchString(s) {
		return "", fmt.Errorf("%q is not a UUID", s)
	}
	return UUID(s), nil
}

// ID is what a loader calls a boot environment: b and the first 12 hex digits
// of its UUID. It is safe in file names, kernel arguments and loader scripts,
// also where they ignore case. The ID of the empty UUID is empty.
func (u UUID) ID() string {
	hexDigits := strings.ReplaceAll(string(u), "-", "")
	if len(hexDigits) < 12 {
		return ""
	}
	return "b" + hexDigits[:12]
}

// NewToken returns 16 random hex digits, to name an activation, a run or a
// temporary thing.
func NewToken() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
