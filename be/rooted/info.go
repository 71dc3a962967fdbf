package rooted

import (
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Info is what stat(2) says about a name.
type Info struct {
	Name  string
	Mode  fs.FileMode // type, permissions, setuid, setgid, sticky
	UID   uint32
	GID   uint32
	Size  int64
	Nlink uint64
	Dev   uint64
	Ino   uint64
	Rdev  uint64
	Mtime time.Time
	Ctime time.Time // of the last change of content or attributes; nobody sets it
}

// IsDir, IsRegular and IsLink ask for the type.
func (i Info) IsDir() bool     { return i.Mode.IsDir() }
func (i Info) IsRegular() bool { return i.Mode.IsRegular() }
func (i Info) IsLink() bool    { return i.Mode&fs.ModeSymlink != 0 }

// Perm is the mode as chmod(2) takes it: permissions, setuid, setgid, sticky.
func (i Info) Perm() uint32 { return UnixPerm(i.Mode) }

// UnixPerm turns a FileMode's permissions into what chmod(2) takes. The
// number 0o1777 is accepted for ModeSticky|0o777, and so on.
func UnixPerm(m fs.FileMode) uint32 {
	p := uint32(m & 0o7777)
	if m&fs.ModeSetuid != 0 {
		p |= unix.S_ISUID
	}
	if m&fs.ModeSetgid != 0 {
		p |= unix.S_ISGID
	}
	if m&fs.ModeSticky != 0 {
		p |= unix.S_ISVTX
	}
	return p
}

func infoOf(name string, st *unix.Stat_t) Info {
	mode := fs.FileMode(st.Mode & 0o777)
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFREG:
	default: // a door, a whiteout
		mode |= fs.ModeIrregular
	}
	if uint32(st.Mode)&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if uint32(st.Mode)&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if uint32(st.Mode)&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	sec, nsec := st.Mtim.Unix()
	csec, cnsec := st.Ctim.Unix()
	return Info{
		Name: name, Mode: mode, UID: st.Uid, GID: st.Gid, Size: st.Size,
		Nlink: uint64(st.Nlink), Dev: uint64(st.Dev), Ino: st.Ino, Rdev: uint64(st.Rdev),
		Mtime: time.Unix(sec, nsec), Ctime: time.Unix(csec, cnsec),
	}
}

func fstatat(dirfd int, name string) (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Info{}, err
	}
	return infoOf(name, &st), nil
}

func fstat(fd int, name string) (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Info{}, err
	}
	return infoOf(name, &st), nil
}

// Lstat describes the name itself; links before the last component are
// followed.
func (r *Root) Lstat(path string) (Info, error) { return r.stat("lstat", path, false) }

// Stat describes what path leads to.
func (r *Root) Stat(path string) (Info, error) { return r.stat("stat", path, true) }

func (r *Root) stat(op, path string, follow bool) (info Info, err error) {
	err = r.at(op, path, follow, func(dirfd int, name string) error {
		info, err = fstatat(dirfd, name)
		return err
	})
	return info, err
}
