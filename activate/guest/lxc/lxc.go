// Package lxc runs guests by LXC (lxc.container.conf(5)): system containers
// whose root is a directory.
package lxc

import (
	"context"
	"regexp"

	"beadm/activate/guest"
	"beadm/activate/guest/probe"

	"beadm/be"
)

// Config says where things are.
type Config struct {
	// Path holds the containers; empty: what lxc-config says.
	Path string
	// Dir is root's alone, for what one call needs; it is made if it is not there.
	Dir string
	// Health asks the guest whose process 1 is leader; nil: probe.Systemd.
	Health func(ctx context.Context, leader int) (guest.Health, error)
}

// Runtime is the containers of one directory.
type Runtime struct{ cfg Config }

var _ guest.Runtime = (*Runtime)(nil)

// New touches nothing.
func New(cfg Config) *Runtime {
	if cfg.Health == nil {
		cfg.Health = probe.Systemd
	}
	return &Runtime{cfg}
}

// Name is "lxc".
func (r *Runtime) Name() string { return "lxc" }

// containerName is stricter than LXC, which takes a name as part of a path, of
// a control group and of a socket.
var containerName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

func checkName(g guest.Guest) error {
	if !containerName.MatchString(g.Name) {
		return be.E(be.Usage, "%q is no name of an LXC container", g.Name)
	}
	return nil
}
