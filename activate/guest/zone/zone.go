// Package zone runs zones of illumos and Solaris by zoneadm(8) and zlogin(1). It
// is made after the manuals and sources of these, and untried.
//
// The global zone is no guest, nor is a zone that is not installed, or whose
// brand runs a machine with a kernel of its own. What a zone starts from is a
// dataset that the system itself keeps for each of the host's boot environments:
// see Kept.
package zone

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"beadm/activate/guest"
	"beadm/activate/guest/tool"
	"beadm/be"
)

// Programs of the host, by path: what is looked up in PATH may be anybody's.
const (
	zoneadm = "/usr/sbin/zoneadm"
	zlogin  = "/usr/sbin/zlogin"
	zfs     = "/usr/sbin/zfs"
)

var environ = []string{"HOME=/", "PATH=/usr/sbin:/usr/bin", "LC_ALL=C"}

// Runtime is the zones of one host.
type Runtime struct {
	root     string // of the host's files
	programs tool.Programs
	poll     time.Duration // between looks at what ends
	stopTime time.Duration // given to a zone to stop where the caller gives none
	haltTime time.Duration // given to the kernel to end a zone's processes
}

var (
	_ guest.Runtime = (*Runtime)(nil)
	_ guest.Keeper  = (*Runtime)(nil)
)

// New touches nothing. Its methods find no zones on other systems.
func New() *Runtime {
	return &Runtime{root: "/", programs: tool.Host{Env: environ}, poll: 100 * time.Millisecond, stopTime: 90 * time.Second, haltTime: 30 * time.Second}
}

// Name is "zone".
func (r *Runtime) Name() string { return "zone" }

// entry is a zone that is a guest.
type entry struct {
	guest.Guest
	zone
}

// List returns the zones beside the errors of those that cannot be read.
func (r *Runtime) List(ctx context.Context) ([]guest.Guest, error) {
	all, err := r.entries(ctx)
	var guests []guest.Guest
	for _, e := range all {
		guests = append(guests, e.Guest)
	}
	return guests, err
}

// entries returns the zones sorted by name, and what is wrong with others.
func (r *Runtime) entries(ctx context.Context) ([]entry, error) {
	if there, err := r.exists(zoneadm); !there {
		return nil, err
	}
	text, err := r.programs.Ask(ctx, askList)
	if err != nil {
		return nil, be.E(be.KindOf(err), "cannot list the zones: %w", err)
	}
	zones, wrong := parseList(text)
	var all []entry
	for _, z := range zones {
		if z.name == "global" || z.path == "/" || !installed[z.state] || machines[z.brand] {
			continue
		}
		all = append(all, entry{guest.Guest{Name: z.name, Runtime: r.Name(), Root: filepath.Join(z.path, "root"), Running: runs[z.state]}, z})
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.Name, b.Name) })
	return all, errors.Join(wrong...)
}

// look finds a guest anew.
func (r *Runtime) look(ctx context.Context, g guest.Guest) (entry, error) {
	if there, err := r.exists(zoneadm); err != nil {
		return entry{}, err
	} else if !there {
		return entry{}, be.E(be.NoStore, "there is no zoneadm(8) here")
	}
	all, err := r.entries(ctx)
	for _, e := range all {
		if e.Name != g.Name {
			continue
		}
		if g.Root != "" && filepath.Clean(g.Root) != e.Root {
			return entry{}, be.E(be.InUse, "the root of the zone %s is %s now, not %s", g.Name, e.Root, g.Root)
		}
		return e, nil
	}
	if err != nil {
		return entry{}, be.E(be.NotFound, "there is no zone %s, or it cannot be read: %w", g.Name, err)
	}
	return entry{}, be.E(be.NotFound, "there is no zone %s that is installed", g.Name)
}
