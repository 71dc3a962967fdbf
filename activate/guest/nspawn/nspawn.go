// Package nspawn runs guests by systemd-nspawn(1): through its service
// systemd-nspawn@NAME where systemd runs the host, else the program itself,
// with what systemd.nspawn(5) says in /etc/systemd/nspawn.
package nspawn

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"beadm/activate/guest"
	"beadm/be"
)

// DefaultDir is where machines are: machinectl(1), FILES AND DIRECTORIES.
const DefaultDir = "/var/lib/machines"

// Config says where things are.
type Config struct {
	Dir    string // of the machines; empty: DefaultDir
	LogDir string // root's alone, for what the program says where systemd does not run the host
	// Systemd: the host is run by systemd.
	Systemd bool
}

// Runtime is the machines of one directory.
type Runtime struct{ cfg Config }

var _ guest.Runtime = (*Runtime)(nil)

// New touches nothing.
func New(cfg Config) *Runtime {
	if cfg.Dir == "" {
		cfg.Dir = DefaultDir
	}
	return &Runtime{cfg}
}

// Name is "nspawn".
func (r *Runtime) Name() string { return "nspawn" }

// machineName is what machinectl(1) takes: a host name.
var machineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// List are the directories of Dir that machinectl(1) would list as images.
func (r *Runtime) List(ctx context.Context) ([]guest.Guest, error) {
	entries, err := os.ReadDir(r.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, be.E(be.NoStore, "cannot list the machines: %w", err)
	}
	running, err := processes()
	if err != nil {
		return nil, err
	}
	var list []guest.Guest
	for _, e := range entries {
		root := filepath.Join(r.cfg.Dir, e.Name())
		if !machineName.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".raw") {
			continue
		}
		// The link that beadm puts there counts as what it leads to.
		if info, err := os.Stat(root); err != nil || !info.IsDir() {
			continue
		}
		g := guest.Guest{Name: e.Name(), Runtime: r.Name(), Root: root}
		if p, ok := running[g.Name]; ok {
			g.Running, g.Leader = true, p.leader
		}
		list = append(list, g)
	}
	return list, nil
}

func (r *Runtime) check(g guest.Guest) error {
	if !machineName.MatchString(g.Name) {
		return be.E(be.Usage, "%q is no name of an nspawn machine", g.Name)
	}
	return nil
}
