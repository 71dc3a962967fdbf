package lxc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"beadm/activate/guest"
	"beadm/be"
)

const startTime = 90 * time.Second

// Start starts the container.
func (r *Runtime) Start(ctx context.Context, g guest.Guest) error {
	c, err := r.container(ctx, g)
	if err != nil {
		return err
	}
	if c.running {
		return be.E(be.InUse, "%s runs already", g.Name)
	}
	work, err := r.work(g)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", g.Name, err)
	}
	defer os.RemoveAll(work)
	log, console := filepath.Join(work, "log"), filepath.Join(work, "console")
	args := []string{"-d", "-P", c.path, "--name=" + g.Name, "-q", "-o", log, "-l", "ERROR"}
	if info, err := os.Lstat(c.root); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		// See FollowsLink.
		args = append(args, "-s", "lxc.rootfs.path=btrfs:"+c.root)
	}
	if c.console == "" {
		// The container goes on writing into it, unseen: it must not fill the
		// host's memory.
		args = append(args, "-L", console, "-s", "lxc.console.size=64KB")
	} else {
		console = c.console
	}
	// Cut half way it would start all the same.
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime)
	defer cancel()
	cmd := exec.CommandContext(starting, "lxc-start", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	err = cmd.Run()
	said, _ := os.ReadFile(log)
	if err == nil {
		// lxc-start says no more than this to one that runs.
		if strings.Contains(string(said), "Container is already running") {
			return be.E(be.InUse, "%s runs already", g.Name)
		}
		if now, err := r.container(starting, g); err == nil && now.running {
			return nil
		}
		err = errors.New("it ended at once")
	}
	if why := cause(said); why != "" {
		err = fmt.Errorf("%s (%w)", why, err)
	}
	if line := lastOf(console); line != "" {
		err = fmt.Errorf("%w; its console: %s", err, line)
	}
	return fmt.Errorf("cannot start %s: %w", g.Name, err)
}

// work makes a directory for one call. Its owner takes it away.
func (r *Runtime) work(g guest.Guest) (string, error) {
	if r.cfg.Dir != "" {
		if err := os.MkdirAll(r.cfg.Dir, 0o700); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(r.cfg.Dir, "lxc-"+g.Name+"-")
}

// lastOf is the last line of a console's log. It is the guest's: it may be
// long, or anything.
func lastOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-4096), io.SeekStart)
	}
	data, _ := io.ReadAll(io.LimitReader(f, 4096))
	line := lastLine(data)
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return -1
		}
		return c
	}, line[:min(len(line), 200)])
}
