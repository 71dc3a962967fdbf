package grub

import (
	"strconv"
	"strings"
)

// medium is what holds the files, as far as it matters to GRUB.
type medium struct {
	uuid    string   // of the file system, as GRUB's search --fs-uuid takes it
	modules []string // that GRUB needs to come to it, beyond those for partitions
	// readOnly says why GRUB cannot write there, or must not; nil if it can.
	readOnly error
}

// configVersion is the version in the first line of a grub.cfg, 0 if there is
// none.
func configVersion(b []byte) int {
	line, _, _ := strings.Cut(string(b), ".")
	_, v, _ := strings.Cut(line, "version ")
	n, _ := strconv.Atoi(v)
	return n
}
