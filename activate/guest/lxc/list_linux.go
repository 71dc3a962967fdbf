package lxc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"beadm/activate/guest"
	"beadm/be"
)

// List are the containers of Path that have a config and whose root is a
// directory, a link to one, or a dataset that lxc-create made. A container whose root
// is an overlay or a block device is none of them.
func (r *Runtime) List(ctx context.Context) ([]guest.Guest, error) {
	return r.list(ctx, r.container)
}

// Linkable are the containers that FollowsLink has nothing against, be there a
// root of theirs or none.
func (r *Runtime) Linkable(ctx context.Context) ([]guest.Guest, error) {
	return r.list(ctx, func(ctx context.Context, g guest.Guest) (container, error) {
		c, err := r.look(ctx, g)
		if err == nil && followsLink(g, c) != nil {
			err = notDirectory(g, c)
		}
		return c, err
	})
}

func (r *Runtime) list(ctx context.Context, look func(context.Context, guest.Guest) (container, error)) ([]guest.Guest, error) {
	path, err := r.path(ctx)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the containers: %w", err)
	}
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, be.E(be.NoStore, "cannot list the containers: %w", err)
	}
	var list []guest.Guest
	var errs []error
	for _, e := range entries {
		g := guest.Guest{Name: e.Name(), Runtime: r.Name()}
		if !e.IsDir() || !containerName.MatchString(g.Name) {
			continue
		}
		c, err := look(ctx, g)
		if be.KindOf(err) == be.NotFound {
			continue
		}
		if errors.Is(err, exec.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			// One that is just being made, or mistyped, hides no other.
			errs = append(errs, err)
			continue
		}
		g.Root, g.Running, g.Leader = c.root, c.running, c.leader
		list = append(list, g)
	}
	return list, errors.Join(errs...)
}

// FollowsLink says, as an error, why LXC would not start the container by
// itself, as it does when the host boots, once its root is a link.
func (r *Runtime) FollowsLink(ctx context.Context, g guest.Guest) error {
	c, err := r.container(ctx, g)
	if err != nil {
		return err
	}
	return followsLink(g, c)
}

func followsLink(g guest.Guest, c container) error {
	kind, path, err := c.configuredRoot()
	if err != nil {
		return fmt.Errorf("cannot read how %s is started: %w", g.Name, err)
	}
	// LXC opens the root of its other kind of directory, dir:, without
	// following a link; that of this kind it mounts, whatever file system it is.
	switch {
	case kind == "btrfs":
		return nil
	case kind == "zfs" && !filepath.IsAbs(path):
		return be.E(be.Decision, "LXC mounts the root of %s, %s, by itself, and does not start it from a link: run zfs set canmount=on %s and zfs mount %s, and write lxc.rootfs.path = btrfs:%s into %s", g.Name, path, path, path, c.root, c.config)
	}
	return be.E(be.Decision, "LXC does not start %s from a link: write lxc.rootfs.path = btrfs:%s into %s", g.Name, c.root, c.config)
}

// container is what LXC says of one.
type container struct {
	path    string // Config.Path
	config  string // its configuration
	root    string
	running bool
	leader  int
	console string // where its console is logged; empty: nowhere
}

// configuredRoot is what the container's own configuration says of its root: a
// kind of LXC's, empty if it has LXC find that out, and a path or dataset.
func (c container) configuredRoot() (kind, path string, err error) {
	data, err := os.ReadFile(c.config)
	if err != nil {
		return "", "", err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if key, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(key) == "lxc.rootfs.path" {
			kind, path, ok = strings.Cut(strings.TrimSpace(v), ":")
			if !ok {
				kind, path = "", kind
			}
		}
	}
	return kind, path, nil
}

// container is look, and be.NotFound if the root is no directory.
func (r *Runtime) container(ctx context.Context, g guest.Guest) (container, error) {
	c, err := r.look(ctx, g)
	if err != nil {
		return c, err
	}
	if info, err := os.Lstat(c.root); err != nil || !info.IsDir() && info.Mode()&fs.ModeSymlink == 0 {
		return c, notDirectory(g, c)
	}
	return c, nil
}

func notDirectory(g guest.Guest, c container) error {
	return be.E(be.NotFound, "the root of %s, %q, is not a directory", g.Name, c.root)
}

// look asks LXC. It is be.NotFound if LXC has none of that name, or one whose root
// can be no directory.
func (r *Runtime) look(ctx context.Context, g guest.Guest) (container, error) {
	if err := checkName(g); err != nil {
		return container{}, err
	}
	path, err := r.path(ctx)
	if err != nil {
		return container{}, err
	}
	c := container{path: path, config: filepath.Join(path, g.Name, "config")}
	if info, err := os.Lstat(c.config); errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return c, be.E(be.NotFound, "there is no LXC container %s in %s", g.Name, path)
	}
	said, err := r.ask(ctx, "lxc-info", "-P", path, "--name="+g.Name, "-s", "-p", "-H", "-c", "lxc.rootfs.path", "-c", "lxc.console.logfile")
	if err != nil {
		return c, fmt.Errorf("cannot look at %s: %w", g.Name, err)
	}
	if err := c.read(said); err != nil {
		return c, fmt.Errorf("cannot look at %s: %w", g.Name, err)
	}
	if kind, _, err := c.configuredRoot(); err == nil && kind == "zfs" && !filepath.IsAbs(c.root) {
		// That is the dataset. Here lxc-create(1) has its mountpoint.
		c.root = filepath.Join(path, g.Name, "rootfs")
	}
	if !filepath.IsAbs(c.root) {
		return c, notDirectory(g, c)
	}
	return c, nil
}

// path is where the containers are.
func (r *Runtime) path(ctx context.Context) (string, error) {
	if r.cfg.Path != "" {
		return r.cfg.Path, nil
	}
	said, err := r.ask(ctx, "lxc-config", "lxc.lxcpath")
	if err != nil {
		return "", err
	}
	path := strings.TrimSpace(said)
	if !filepath.IsAbs(path) || strings.ContainsAny(path, "\n") {
		return "", fmt.Errorf("cannot find the containers: lxc-config says %q", said)
	}
	return path, nil
}

// ask runs a program of LXC that only reads.
func (r *Runtime) ask(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", be.E(be.NoStore, "LXC is not installed: %w", err)
	}
	if err != nil {
		var ended *exec.ExitError
		if errors.As(err, &ended) && len(ended.Stderr) > 0 {
			return "", fmt.Errorf("%s: %w: %s", program, err, lastLine(ended.Stderr))
		}
		return "", fmt.Errorf("%s: %w", program, err)
	}
	return string(out), nil
}
