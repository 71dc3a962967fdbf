package boot

import (
	"regexp"

	"beadm/be"
)

var idRule = regexp.MustCompile(`^b[0-9a-f]{12}$`)

// ValidID says whether id is what be.UUID.ID makes. Nothing else is ever
// written into a loader's files or taken from them.
func ValidID(id string) bool { return idRule.MatchString(id) }

// CheckID is ValidID as an error.
func CheckID(id string) error {
	if ValidID(id) {
		return nil
	}
	return be.E(be.Usage, "%q is no loader's id of a boot environment: b and 12 hex digits are", id)
}
