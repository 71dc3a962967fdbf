// Package trees looks at the roots of two boot environments beside each other:
// what is mounted in one from elsewhere is not its own, and what both have is the
// same or not. It only reads.
package trees

import (
	"fmt"
	"path/filepath"
	"strings"

	"beadm/be/rooted"
)

// mounted is a line of the mount table.
type mounted struct{ source, at string }

// mounts are the paths, in a root, where something is mounted, and whether it
// is somebody else's.
type mounts map[string]bool

// foreign says that at p begins what is not the boot environment's. It is
// asked before p is looked at: a server that is down does not answer. The
// shared data is beadm's, and links into it are followed.
func (m mounts) foreign(p string) bool { return m[p] && p != Shared }

// Shared is where the data lives that is in no boot environment.
const Shared = "/var/share"

// OpenOwn opens the root at dir without what is mounted in it from elsewhere but
// the shared data. own is its location in its store, where its own file systems
// come from; empty: nothing mounted in it is its own.
func OpenOwn(dir, own string) (*rooted.Root, error) {
	root, err := rooted.Open(dir)
	if err != nil {
		return nil, err
	}
	m, err := findMounts(root, own)
	if err != nil {
		root.Close()
		return nil, err
	}
	root.Avoid(m.foreign)
	return root, nil
}

// findMounts reads the mount table. own is where the boot environment's own
// file systems are in its store.
func findMounts(root *rooted.Root, own string) (mounts, error) {
	dir, err := filepath.Abs(root.Dir())
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, err
	}
	table, err := mountTable()
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	found := mounts{}
	for _, m := range table {
		p, below := strings.CutPrefix(m.at, strings.TrimSuffix(dir, "/")+"/")
		if below && p != "" {
			// Of several the last one is seen.
			found["/"+p] = own == "" || !strings.HasPrefix(m.source, own+"/")
		}
	}
	return found, nil
}
