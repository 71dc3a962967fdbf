//go:build unix

package guest

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"beadm/be"
)

// rootsAlone refuses a root that somebody of this host other than root could put
// something else in the place of, or of what is made beside it: who may rename a
// directory on the way leads root wherever he likes. The mapped root of a guest, to
// whom LXC gives the directory that a root is in, is nobody of this host.
func rootsAlone(root string) error {
	dir := filepath.Dir(root)
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	ways := []string{dir}
	if real != dir {
		ways = append(ways, real)
	}
	for _, at := range ways {
		for in := at; ; in = filepath.Dir(in) {
			if err := rootsAt(in, in == real); err != nil {
				return err
			}
			if in == filepath.Dir(in) {
				break
			}
		}
	}
	return nil
}

// rootsAt is rootsAlone for one directory; holds says that the root is in it. In a
// sticky one others have names of their own, and cannot take away another's.
func rootsAt(dir string, holds bool) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&fs.ModeSymlink != 0 {
		return nil // the directory that the link is in counts
	}
	sticky := info.Mode()&fs.ModeSticky != 0 && !holds
	who := ""
	if u, err := user.LookupId(id(st.Uid)); err == nil && st.Uid != 0 {
		who = u.Username
	}
	if g, err := user.LookupGroupId(id(st.Gid)); err == nil && st.Gid != 0 && info.Mode()&0o020 != 0 && !sticky {
		who = "the group " + g.Name
	}
	if info.Mode()&0o002 != 0 && !sticky {
		who = "everybody"
	}
	if who == "" {
		return nil
	}
	return be.E(be.NoStore, "%s can rename what is in %s: have the root in a directory that is root's alone", who, dir)
}

func id[T ~uint32](n T) string { return strconv.FormatUint(uint64(n), 10) }
