package lxc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"beadm/activate/guest"
	"beadm/be"
)

const (
	askTime  = 10 * time.Second
	manyText = 1 << 20 // bytes: a guest may say any number of things
)

// Health asks what Config says.
func (r *Runtime) Health(ctx context.Context, g guest.Guest) (guest.Health, error) {
	c, err := r.container(ctx, g)
	if err != nil {
		return guest.Health{}, err
	}
	if !c.running || c.leader == 0 {
		return guest.Health{}, be.E(be.NotFound, "%s does not run", g.Name)
	}
	if r.cfg.Health != nil {
		return r.cfg.Health(ctx, c.leader)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var h guest.Health
	said, err := attach(ctx, c, g, "systemctl", "show", "--property=SystemState", "--value")
	if err != nil {
		return h, fmt.Errorf("cannot ask the systemd of %s: %w", g.Name, err)
	}
	word := strings.TrimSpace(said)
	h.Up = word == "running" || word == "degraded"
	if !h.Up {
		h.Why = "its systemd says " + strconv.Quote(word)
	}
	said, err = attach(ctx, c, g, "systemctl", "list-units", "--state=failed", "--all", "--full", "--plain", "--no-legend")
	if err != nil {
		return guest.Health{}, fmt.Errorf("cannot ask the systemd of %s: %w", g.Name, err)
	}
	for _, line := range strings.Split(said, "\n") {
		if unit, _, _ := strings.Cut(strings.TrimSpace(line), " "); unit != "" {
			h.Failed = append(h.Failed, unit)
		}
	}
	slices.Sort(h.Failed)
	return h, nil
}

// attach runs a program of the guest in it, confined as it is: lxc-attach lets
// go of what the guest does not have before it runs anything.
func attach(ctx context.Context, c container, g guest.Guest, argv ...string) (string, error) {
	args := []string{"-P", c.path, "--name=" + g.Name, "--clear-env", "-q", "--", "/usr/bin/env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "SYSTEMD_COLORS=0"}
	cmd := exec.CommandContext(ctx, "lxc-attach", append(args, argv...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// What the guest leaves running with the pipes open is not waited for.
	cmd.WaitDelay = time.Second
	var out, words capped
	cmd.Stdout, cmd.Stderr = &out, &words
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", be.E(be.NoStore, "LXC is not installed: %w", err)
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("%w: %s", err, lastLine(words.Bytes()))
	case out.Len() == manyText:
		return "", errors.New("it says too much")
	}
	return out.String(), nil
}

// capped keeps the beginning of what is written to it.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	c.Buffer.Write(p[:min(len(p), manyText-c.Len())])
	return len(p), nil
}
