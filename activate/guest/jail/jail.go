// Package jail runs jails of FreeBSD: those of jail.conf(5), of bastille and of
// iocage, each started and stopped by what manages it. It is made after the
// manuals and sources of these, and untried.
//
// A jail with no configuration is no guest, for it could not be started again;
// nor is one whose root is the host's.
package jail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"beadm/activate/guest"
	"beadm/activate/guest/tool"
	"beadm/be"
)

// Runtime is the jails of one host.
type Runtime struct {
	files    hostFiles
	programs tool.Programs
	poll     time.Duration // between looks at what ends
	stopTime time.Duration // given to a jail to stop where the caller gives none
}

var _ guest.Runtime = (*Runtime)(nil)

// New touches nothing. Its methods find no jails on other systems.
func New() *Runtime {
	return &Runtime{files: "/", programs: tool.Host{Env: environ}, poll: 100 * time.Millisecond, stopTime: 90 * time.Second}
}

// Name is "jail".
func (r *Runtime) Name() string { return "jail" }

func (r *Runtime) ask(ctx context.Context, argv ...string) (string, error) {
	return r.programs.Ask(ctx, argv)
}

// entry is a jail that is configured.
type entry struct {
	guest.Guest
	kernel      string // its name while it runs
	jid         int    // while it runs
	jids        []int  // that, and those of jails in it
	where       where
	start, stop []string
	configured  configured // of jail.conf(5); none for iocage
}

// jailName is what is passed to programs: no option, no NAME=VALUE, no path and
// no pattern, which jail(8) would all take for something else.
var jailName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$`)

// special are names that bastille and iocage take for something else.
var special = map[string]bool{"ALL": true, "all": true, "help": true}

func (e entry) usable() error {
	if !jailName.MatchString(e.Name) || numeral.MatchString(e.Name) || len(e.Name) > 255 || e.start[0] != jail && special[e.Name] {
		return fmt.Errorf("%s: cannot use the jail %q: its name could be taken for something else", e.where, e.Name)
	}
	return nil
}

// List returns the jails beside the errors of those that cannot be read: a
// configuration that is wrong hides no jail of another.
func (r *Runtime) List(ctx context.Context) ([]guest.Guest, error) {
	list, err := r.entries(ctx)
	var guests []guest.Guest
	for _, e := range list {
		guests = append(guests, e.Guest)
	}
	return guests, err
}

// installed says whether there are jails on this host at all.
func (r *Runtime) installed() (bool, error) {
	for _, program := range []string{jail, jls} {
		if there, err := r.files.exists(program); !there {
			return false, err
		}
	}
	return true, nil
}

// entries returns the jails sorted by name, and what is wrong with others.
func (r *Runtime) entries(ctx context.Context) ([]entry, error) {
	if there, err := r.installed(); !there {
		return nil, err
	}
	now, err := r.running(ctx)
	if err != nil {
		return nil, err
	}
	var all []entry
	var wrong []error
	// What a manager has comes first: jail.conf may include its files.
	for _, layout := range []func(context.Context) ([]entry, []error){r.bastilles, r.iocages, r.plain} {
		found, errs := layout(ctx)
		wrong = append(wrong, errs...)
		for _, e := range found {
			if err := e.usable(); err != nil {
				wrong = append(wrong, err)
				continue
			}
			i := slices.IndexFunc(all, func(have entry) bool { return have.Name == e.Name || have.kernel == e.kernel })
			if i < 0 {
				all = append(all, e)
			} else if all[i].Root != e.Root {
				wrong = append(wrong, fmt.Errorf("cannot tell the jail %s of %s from that of %s", e.Name, e.where, all[i].where))
				all[i].Root = ""
			}
		}
	}
	all = slices.DeleteFunc(all, func(e entry) bool { return e.Root == "" })
	for i := range all {
		e := &all[i]
		e.Runtime = r.Name()
		if j, ok := now[e.kernel]; ok {
			e.Running, e.jid, e.jids = true, j.jid, within(now, e.kernel)
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.Name, b.Name) })
	return all, errors.Join(wrong...)
}

// look finds a guest anew.
func (r *Runtime) look(ctx context.Context, g guest.Guest) (entry, []entry, error) {
	if there, err := r.installed(); err != nil {
		return entry{}, nil, err
	} else if !there {
		return entry{}, nil, be.E(be.NoStore, "there is no jail(8) here")
	}
	all, err := r.entries(ctx)
	for _, e := range all {
		if e.Name != g.Name {
			continue
		}
		if g.Root != "" && filepath.Clean(g.Root) != e.Root {
			return entry{}, nil, be.E(be.InUse, "the root of the jail %s is %s now, not %s", g.Name, e.Root, g.Root)
		}
		return e, all, nil
	}
	if err != nil {
		return entry{}, nil, be.E(be.NotFound, "there is no jail %s, or it cannot be read: %w", g.Name, err)
	}
	return entry{}, nil, be.E(be.NotFound, "there is no jail %s", g.Name)
}

// rootOf is the root of a configured jail, "" if it is the host's.
func rootOf(c configured) (string, error) {
	root := c.last("path")
	if root == "" {
		return "", nil
	}
	if !strings.HasPrefix(root, "/") || strings.ContainsFunc(root, func(c rune) bool { return c < ' ' }) {
		return "", fmt.Errorf("%s: cannot use the jail %s: its path %q does not begin with a slash, or is no name of a directory", c.where, c.name, root)
	}
	if root = filepath.Clean(root); root == "/" {
		return "", nil
	}
	return root, nil
}
