package jail

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hostFiles are the host's files, below a directory.
type hostFiles string

// maxFile is the most that a file of configuration may hold.
const maxFile = 4 << 20

func (h hostFiles) at(name string) string { return filepath.Join(string(h), name) }

func (h hostFiles) read(name string) (string, error) {
	f, err := os.Open(h.at(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is too large", name)
	}
	return string(data), err
}

func (h hostFiles) exists(name string) (bool, error) {
	_, err := os.Stat(h.at(name))
	if missing(err) {
		return false, nil
	}
	return err == nil, err
}

func (h hostFiles) names(dir string) ([]string, error) {
	list, err := os.ReadDir(h.at(dir))
	if missing(err) {
		return nil, nil
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names, err
}

// missing is of what is not there, for a file may stand where its directory would.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func (h hostFiles) glob(pattern string) ([]string, error) {
	if strings.Contains(pattern, `\`) {
		return nil, fmt.Errorf("cannot follow the pattern %q: it has a backslash", pattern)
	}
	found := []string{"/"}
	for _, part := range strings.Split(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(part, "*?[") {
				name := path.Join(dir, part)
				there, err := h.exists(name)
				if err != nil {
					return nil, err
				}
				if there {
					next = append(next, name)
				}
				continue
			}
			names, err := h.names(dir)
			if err != nil {
				return nil, err
			}
			for _, n := range names {
				// glob(3) has [!…] where Go has [^…], and no pattern finds a dot
				// at the front.
				ok, err := path.Match(strings.ReplaceAll(part, "[!", "[^"), n)
				if err != nil {
					return nil, fmt.Errorf("cannot follow the pattern %q: %w", pattern, err)
				}
				if ok && (n[0] != '.' || part[0] == '.') {
					next = append(next, path.Join(dir, n))
				}
			}
		}
		found = next
	}
	slices.Sort(found)
	return found, nil
}
