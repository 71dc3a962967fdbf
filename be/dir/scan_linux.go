package dir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// directory is one in the BE root.
type directory struct {
	name string
	inode
	created time.Time // as far as the file system knows it
}

// entry is one that is a boot environment, or was or is to be one.
type entry struct {
	directory
	be      string // its name
	uuid    be.UUID
	partial bool
}

// directories are those in the BE root, sorted by name, and no links to any.
func (s *Store) directories() ([]directory, error) {
	names, err := namesIn(s.fd(), ".")
	if err != nil {
		return nil, problem(err, "cannot read %s", s.path)
	}
	var list []directory
	for _, name := range names {
		var st unix.Statx_t
		err := unix.Statx(s.fd(), name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
		if errors.Is(err, unix.ENOENT) {
			continue // gone since
		}
		if err != nil {
			return nil, problem(err, "cannot look at %s", filepath.Join(s.path, name))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		created := st.Mtime
		if st.Mask&unix.STATX_BTIME != 0 {
			created = st.Btime
		}
		list = append(list, directory{name: name, inode: inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}, created: time.Unix(created.Sec, int64(created.Nsec))})
	}
	return list, nil
}

// namesIn are the names in a directory below dirfd, sorted; none if there is no
// such directory.
func namesIn(dirfd int, path string) ([]string, error) {
	fd, err := beneath(dirfd, path)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// entries are the boot environments: what has the prefix, what has been
// adopted, and what is running. What is not whole is among them.
func (s *Store) entries() ([]entry, error) {
	dirs, err := s.directories()
	if err != nil {
		return nil, err
	}
	var list, adopted []entry
	for _, d := range dirs {
		e := entry{directory: d}
		if name, is := strings.CutPrefix(d.name, partialPrefix); is {
			if be.CheckName(name) != nil {
				continue
			}
			e.be, e.partial = name, true
		} else if strings.HasPrefix(d.name, ourPrefix) || d.name == stateVolume || d.name == shareVolume {
			continue
		}
		if err := s.mark(&e); errors.Is(err, unix.ENOENT) {
			continue // gone since
		} else if err != nil {
			return nil, problem(err, "cannot look at %s", filepath.Join(s.path, d.name))
		}
		name, is := strings.CutPrefix(d.name, bePrefix)
		switch {
		case e.partial:
			list = append(list, e)
		case is && be.CheckName(name) == nil:
			e.be = name
			list = append(list, e)
		case e.uuid != "" || d.inode == s.now:
			e.be = shownName(d.name)
			adopted = append(adopted, e)
		}
	}
	for _, e := range adopted {
		for taken(list, e.be) {
			e.be += ".orig"
		}
		list = append(list, e)
	}
	return list, nil
}

func taken(list []entry, name string) bool {
	return slices.ContainsFunc(list, func(e entry) bool { return e.be == name })
}

// shownName is the name of a boot environment that has another prefix.
func shownName(dir string) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:+-", r)) {
			return r
		}
		return '-'
	}, dir)
	name = strings.TrimLeft(name, "._:+-")
	if len(name) > be.MaxName {
		name = name[:be.MaxName]
	}
	return cmp.Or(name, "default")
}

// mark reads what says that a directory has been adopted.
func (s *Store) mark(e *entry) error {
	fd, err := beneath(s.fd(), e.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	text, err := attr(fd, markAttr)
	if err != nil {
		return err
	}
	id, made, _ := strings.Cut(text, " ")
	if uuid, err := be.ParseUUID(id); err == nil {
		e.uuid = uuid
		if t, err := time.Parse(time.RFC3339Nano, made); err == nil {
			e.created = t
		}
	}
	return nil
}

// find finds a whole boot environment by name.
func (s *Store) find(name string) (entry, error) {
	list, err := s.entries()
	if err != nil {
		return entry{}, err
	}
	partial := false
	for _, e := range list {
		if e.be == name && !e.partial {
			return e, nil
		}
		partial = partial || e.be == name
	}
	if partial {
		return entry{}, be.E(be.InUse, "boot environment %s is incomplete: an operation on it did not finish; destroy it", name)
	}
	return entry{}, s.missing(name)
}

func (s *Store) missing(name string) error {
	return be.E(be.NotFound, "there is no boot environment %s in %s: see beadm list", name, s.Location())
}

// findOwned is find of one that has a UUID from now on.
func (s *Store) findOwned(name string) (entry, error) {
	e, err := s.find(name)
	if err != nil || e.uuid != "" {
		return e, err
	}
	if err := s.adopt(e); err != nil {
		return entry{}, err
	}
	return s.find(name)
}

// List returns all boot environments sorted by creation time, then name. What
// one holds takes a look at each of its files: see Spaces.
func (s *Store) List(context.Context) ([]be.BE, error) {
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	table, err := mounttable.Read()
	if err != nil {
		return nil, err
	}
	origins, err := s.origins(entries)
	if err != nil {
		return nil, err
	}
	var list []be.BE
	for _, e := range entries {
		b, err := s.describe(e, table, origins)
		if errors.Is(err, unix.ENOENT) {
			continue // gone since
		}
		if err != nil {
			return nil, problem(err, "cannot look at boot environment %s", e.be)
		}
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b be.BE) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	return list, nil
}

func (s *Store) describe(e entry, table mounttable.Table, origins map[string]string) (be.BE, error) {
	b := be.BE{
		Name: e.be, UUID: e.uuid, Policy: "static", Location: filepath.Join(s.path, e.name),
		Created: e.created, Running: e.inode == s.now, Incomplete: e.partial,
		Space: be.SpaceUnknown,
	}
	if b.Running {
		b.Mountpoint = s.cfg.Root
	} else if m := s.in.mountsOf(table, e.name); len(m) > 0 {
		b.Mountpoint = m[0].Mountpoint
	}
	if e.uuid == "" { // its attributes are another one's
		return b, nil
	}
	fd, err := beneath(s.fd(), e.name)
	if err != nil {
		return b, err
	}
	defer unix.Close(fd)
	if b.Description, err = attr(fd, descriptionAttr); err != nil {
		return b, err
	}
	policy, err := attr(fd, policyAttr)
	if err != nil {
		return b, err
	}
	b.Policy = cmp.Or(policy, b.Policy)
	guid, err := attr(fd, originAttr)
	b.Origin = origins[guid]
	return b, err
}

// listed is the one of that name out of List.
func (s *Store) listed(ctx context.Context, name string) (be.BE, error) {
	list, err := s.List(ctx)
	if err != nil {
		return be.BE{}, err
	}
	for _, b := range list {
		if b.Name == name && !b.Incomplete {
			return b, nil
		}
	}
	return be.BE{}, s.missing(name)
}

func stamp() string { return fmt.Sprintf("beadm-%s", time.Now().UTC().Format("2006-01-02-150405.000")) }

func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }
