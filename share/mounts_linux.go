package share

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"beadm/be/rooted"
)

// mount is a line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	dev   string // major:minor of the file system
	root  string // path inside it
	point string // where it is mounted
	kind  string // of file system
}

func readMounts(file string) ([]mount, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []mount
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		fields := strings.Split(s.Text(), " ")
		if len(fields) < 6 {
			continue
		}
		m := mount{dev: fields[2], root: unescape(fields[3]), point: unescape(fields[4])}
		if i := slices.Index(fields, "-"); i >= 0 && i+1 < len(fields) {
			m.kind = fields[i+1]
		}
		list = append(list, m)
	}
	return list, s.Err()
}

// hostPath is p inside r, with every link of the host and the root followed,
// as the kernel writes it in mountinfo and /proc/PID/fd.
func hostPath(r *rooted.Root, p string) (string, error) {
	top, err := filepath.EvalSymlinks(r.Dir())
	if err != nil {
		return "", err
	}
	if top, err = filepath.Abs(top); err != nil {
		return "", err
	}
	in, err := r.Resolve(p)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(top, "/") + in, nil
}

// fsAt is the kind of the file system that is mounted last at p, empty if none
// is.
func fsAt(r *rooted.Root, p string) string {
	full, err := hostPath(r, p)
	if err != nil {
		return ""
	}
	all, err := readMounts("/proc/self/mountinfo")
	kind := ""
	for _, m := range all {
		if err == nil && m.point == full {
			kind = m.kind
		}
	}
	return kind
}

// mountsBelow lists what is mounted at p and below it, as paths that begin
// with p.
func mountsBelow(r *rooted.Root, p string) ([]string, error) {
	full, err := hostPath(r, p)
	if err != nil {
		return nil, err
	}
	all, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var list []string
	for _, m := range all {
		if inside(m.point, full) {
			list = append(list, p+strings.TrimPrefix(m.point, full))
		}
	}
	sort.Strings(list)
	return list, nil
}
