package share

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

// What counts as holding a tree: an open file, directory or bound socket in
// it, a working or root directory, a shared writable mapping, a mount of it in
// another mount namespace, and the kernel's own loop devices and swap files.
//
// What does not: files that have no name any more; binaries and private
// mappings, which read the old tree as well as the new one; and the private
// /var/tmp of systemd's units (PrivateTmp=). Those are mounted in the unit's
// own namespace, files and all, whatever happens to the name outside; nobody
// else can see them, and systemd deletes them when the unit stops. The unit
// goes on in the old tree until then, and Commit finds it there.

const privateTmp = "/systemd-private-"

// place is a directory as the kernel knows it: the file system and the path
// inside it, whatever namespace looks at it.
type place struct{ dev, path string }

// nameSpace translates the paths that a process of a mount namespace shows.
type nameSpace []mount

// find is the mount that a path is on: the deepest, and of those the last,
// which lies on top.
func (n nameSpace) find(path string) (place, bool) {
	best := -1
	for i, m := range n {
		if inside(path, m.point) && (best < 0 || len(m.point) >= len(n[best].point)) {
			best = i
		}
	}
	if best < 0 {
		return place{}, false
	}
	m := n[best]
	return place{m.dev, strings.TrimRight(m.root, "/") + "/" + strings.Trim(strings.TrimPrefix(path, m.point), "/")}, true
}

type scan struct {
	r      *rooted.Root
	trees  []place
	paths  []string // trees as the caller names them
	spaces map[string]nameSpace
	own    string // our mount namespace
	units  Units
	bound  map[string]string // socket inode → path in a tree
	found  []Holder
}

// findHolders looks through /proc. Processes that end meanwhile are passed
// over, and so is this one.
func findHolders(ctx context.Context, r *rooted.Root, dirs []string, units Units) ([]Holder, error) {
	s := &scan{r: r, spaces: map[string]nameSpace{}, units: units, paths: dirs}
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	if s.own, err = os.Readlink("/proc/self/ns/mnt"); err != nil {
		return nil, err
	}
	s.spaces[s.own] = mounts
	for _, dir := range dirs {
		full, err := hostPath(r, dir)
		if err != nil {
			return nil, err
		}
		p, ok := nameSpace(mounts).find(full)
		if !ok {
			return nil, errors.New("cannot find the mount of " + full)
		}
		s.trees = append(s.trees, place{p.dev, strings.TrimRight(p.path, "/")})
	}
	s.bound = boundSockets(s)
	list, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if err := s.process(pid); err != nil {
			return nil, err
		}
	}
	s.kernel()
	sort.SliceStable(s.found, func(i, j int) bool { return s.found[i].PID < s.found[j].PID })
	return s.found, nil
}

// in says which path of the caller's a path of a namespace is, if it is in
// one of the trees and matters.
func (s *scan) in(space nameSpace, path string) (string, bool) {
	if !strings.HasPrefix(path, "/") {
		return "", false
	}
	p, ok := space.find(path)
	if !ok {
		return "", false
	}
	return s.at(p)
}

func (s *scan) at(p place) (string, bool) {
	for i, t := range s.trees {
		if p.dev != t.dev || !inside(strings.TrimRight(p.path, "/"), t.path) {
			continue
		}
		rest := strings.TrimRight(strings.TrimPrefix(p.path, t.path), "/")
		if strings.Contains(rest+"/", privateTmp) {
			return "", false
		}
		return s.paths[i] + rest, true
	}
	return "", false
}

// space is the mount namespace of a process.
func (s *scan) space(proc string) (nameSpace, bool) {
	ns, err := os.Readlink(proc + "/ns/mnt")
	if err != nil {
		return nil, false
	}
	if ns == s.own {
		// Also for a chrooted process, whose own mountinfo is short of what
		// it cannot reach: links in /proc are shown as from our root.
		return s.spaces[ns], true
	}
	// One in a chroot sees fewer mounts than the others: the longest list of
	// a namespace is the true one.
	mounts, err := readMounts(proc + "/mountinfo")
	if err != nil {
		return nil, false
	}
	if len(mounts) > len(s.spaces[ns]) {
		s.spaces[ns] = mounts
	}
	return s.spaces[ns], true
}

func (s *scan) process(pid int) error {
	proc := "/proc/" + strconv.Itoa(pid)
	space, ok := s.space(proc)
	if !ok {
		return nil
	}
	at, ok := s.holds(proc, space)
	if !ok {
		return nil
	}
	h := Holder{PID: pid, Path: at, Command: "?"}
	if comm, err := os.ReadFile(proc + "/comm"); err == nil {
		h.Command = strings.TrimSpace(string(comm))
	}
	if s.units != nil {
		unit, err := s.units.Of(pid)
		if err != nil {
			return err
		}
		h.Unit = unit
	}
	s.found = append(s.found, h)
	return nil
}

// holds says what the process has of the trees, if anything.
func (s *scan) holds(proc string, space nameSpace) (string, bool) {
	for _, link := range []string{"cwd", "root"} {
		if to, err := os.Readlink(proc + "/" + link); err == nil {
			if at, ok := s.in(space, to); ok && !unlinked(proc+"/"+link) {
				return at, true
			}
		}
	}
	fds, err := os.ReadDir(proc + "/fd")
	if err == nil {
		for _, fd := range fds {
			to, err := os.Readlink(proc + "/fd/" + fd.Name())
			if err != nil {
				continue
			}
			if at, ok := s.bound[to]; ok {
				return at, true
			}
			if at, ok := s.in(space, to); ok && !unlinked(proc+"/fd/"+fd.Name()) {
				return at, true
			}
		}
	}
	if at, ok := s.mapped(proc, space); ok {
		return at, true
	}
	ns, _ := os.Readlink(proc + "/ns/mnt")
	if ns == s.own {
		return "", false
	}
	for _, m := range space {
		if at, ok := s.at(place{m.dev, m.root}); ok {
			return at, true
		}
	}
	return "", false
}

// mapped looks for shared writable mappings: stores into them reach the file.
func (s *scan) mapped(proc string, space nameSpace) (string, bool) {
	f, err := os.Open(proc + "/maps")
	if err != nil {
		return "", false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// address perms offset dev inode path
		fields := strings.SplitN(lines.Text(), " ", 6)
		if len(fields) < 6 || len(fields[1]) < 4 || fields[1][1] != 'w' || fields[1][3] != 's' {
			continue
		}
		path := strings.TrimLeft(fields[5], " ")
		if strings.HasSuffix(path, " (deleted)") {
			continue
		}
		if at, ok := s.in(space, path); ok {
			return at, true
		}
	}
	return "", false
}

// unlinked says that what a link in /proc leads to has no name any more.
func unlinked(link string) bool {
	var st unix.Stat_t
	err := unix.Stat(link, &st)
	return errors.Is(err, fs.ErrNotExist) || err == nil && st.Nlink == 0
}

// boundSockets lists the sockets of our network namespace that are bound to a
// name in the trees. The copied name would be nobody's.
func boundSockets(s *scan) map[string]string {
	found := map[string]string{}
	f, err := os.Open("/proc/self/net/unix")
	if err != nil {
		return found
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 || !strings.HasPrefix(fields[7], "/") {
			continue
		}
		if full, err := hostPath(s.r, "/"); err == nil && !inside(fields[7], strings.TrimRight(full, "/")+"/var") {
			continue
		}
		if at, ok := s.in(s.spaces[s.own], fields[7]); ok {
			if _, err := os.Lstat(fields[7]); err == nil { // the name may be gone
				found["socket:["+fields[6]+"]"] = at
			}
		}
	}
	return found
}

// kernel looks for what the kernel itself has open.
func (s *scan) kernel() {
	add := func(what, path string) {
		// In a container these are the host's, and named as the host names them.
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && !strings.HasSuffix(path, "(deleted)") {
			return
		}
		if at, ok := s.in(s.spaces[s.own], path); ok {
			s.found = append(s.found, Holder{Command: what, Path: at})
		}
	}
	if loops, err := os.ReadDir("/sys/block"); err == nil {
		for _, l := range loops {
			if file, err := os.ReadFile("/sys/block/" + l.Name() + "/loop/backing_file"); err == nil {
				add("loop device /dev/"+l.Name(), strings.TrimSpace(string(file)))
			}
		}
	}
	if data, err := os.ReadFile("/proc/swaps"); err == nil {
		for _, line := range strings.Split(string(data), "\n") {
			if f := strings.Fields(line); len(f) > 1 {
				add("swap", f[0])
			}
		}
	}
}
