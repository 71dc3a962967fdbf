package copier

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strings"
)

// An archive is a tar of POSIX.1-2001 (pax) with extended attributes as
// SCHILY.xattr.NAME, holes as GNU tar's sparse format 1.0, and what no tar has as
// BEADM.*. Behind its end, where tar reads no further, is the sum of all before it.

// Archive is what an archive made by Pack says of itself.
type Archive struct {
	Name        string // what was packed
	Description string
	ByPack      bool // made by Pack
}

// Keys of pax records.
const (
	paxXattr = "SCHILY.xattr."
	paxACL   = "SCHILY.acl." // access, default: as text, as tar(1) writes them
	paxLabel = "RHT.security.selinux"

	paxArchive     = "BEADM.export" // global: version of the format; a sum stands behind the end
	paxName        = "BEADM.name"
	paxDescription = "BEADM.description"
	paxPart        = "BEADM.part"  // of a directory: it is a subvolume
	paxFlags       = "BEADM.flags" // letters of chattr(1)
)

// ofStore are attributes by which a store knows its own: they mean nothing, or
// the wrong thing, in another.
func ofStore(name string) bool { return strings.HasPrefix(name, "trusted.beadm.") }

const archiveVersion = "1"

// sumLine begins what stands behind the end.
const sumLine = "beadm-export sha256 "

func trailer(sum hash.Hash) string {
	return sumLine + hex.EncodeToString(sum.Sum(nil)) + "\n"
}

// summed sums what is written.
type summed struct {
	w   io.Writer
	sum hash.Hash
}

func newSummed(w io.Writer) *summed { return &summed{w: w, sum: sha256.New()} }

func (s *summed) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.sum.Write(p[:n])
	return n, err
}
