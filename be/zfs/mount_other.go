//go:build freebsd || illumos || solaris

package zfs

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"beadm/be/rooted"
)

// readMounts reads the mount table. Sources that begin with a slash or have a
// colon are devices and hosts, and are nobody's dataset.
func readMounts() (mountTable, error) {
	list, err := allMounts()
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	var table mountTable
	for _, m := range list {
		if datasetRule.MatchString(strings.Split(m.source, "@")[0]) {
			table = append(table, m)
		}
	}
	return table, nil
}

func mountsBelow(dir string) ([]string, error) {
	list, err := allMounts()
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	var dirs []string
	for _, m := range list {
		if m.dir == dir || strings.HasPrefix(m.dir, dir+"/") {
			dirs = append(dirs, m.dir)
		}
	}
	return dirs, nil
}

// datasetAt is the dataset mounted last at dir, or empty.
func datasetAt(dir string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	table, err := readMounts()
	if err != nil {
		return "", err
	}
	at := ""
	for _, m := range table {
		if m.dir == dir {
			at = m.source
		}
	}
	return at, nil
}

func (s *Store) mountHere(ctx context.Context, d *dataset, dir string, readOnly bool) error {
	options := "rw"
	if readOnly || d.value("readonly") == "on" || strings.Contains(d.name, "@") {
		options = "ro"
	}
	for prop, option := range map[string]string{"setuid": "nosetuid", "exec": "noexec", "atime": "noatime"} {
		if d.value(prop) == "off" {
			options += "," + option
		}
	}
	return s.change(ctx, mountArgv(d.name, dir, options)...)
}

// mountBelow resolves the path as in a chroot. There is no mounting at an
// open directory here: nobody may change the tree meanwhile, and nobody does,
// because a boot environment that is just being mounted is not running.
func (s *Store) mountBelow(ctx context.Context, d *dataset, dir, rel string, readOnly bool) error {
	r, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := r.Stat("/" + rel); err != nil {
		if err := r.MkdirAll("/"+rel, 0o755); err != nil {
			return err
		}
	}
	at, err := r.HostPath("/" + rel)
	if err != nil {
		return err
	}
	return s.mountHere(ctx, d, at, readOnly)
}

func (s *Store) unmount(ctx context.Context, dir string, force bool) error {
	if force {
		return s.change(ctx, "umount", "-f", dir)
	}
	return s.change(ctx, "umount", dir)
}
