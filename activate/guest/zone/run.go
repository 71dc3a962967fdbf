package zone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"beadm/activate/guest"
	"beadm/be"
)

// Run boots the zone without its services (kernel(8), milestone=none), enters it,
// and halts it afterwards: it is confined as it always is, and has the network
// that the host gives it, not the host's own. It refuses (be.NoStore) a root that
// is not the zone's, for a zone runs nowhere else, and a brand without SMF. There
// is no terminal to control. If beadm is killed the zone is left booted so, and
// Stop ends it.
func (r *Runtime) Run(ctx context.Context, g guest.Guest, c guest.Command) (err error) {
	line, err := shellLine(c)
	if err != nil {
		return err
	}
	e, err := r.look(ctx, g)
	switch {
	case err != nil:
		return err
	case filepath.Clean(c.Root) != e.Root:
		return be.E(be.NoStore, "cannot run a command in %s: the zone %s runs in %s alone", c.Root, e.Name, e.Root)
	case withoutSMF[e.brand]:
		return be.E(be.NoStore, "cannot run a command in the zone %s: one of the brand %s cannot be booted without its services", e.Name, e.brand)
	case e.Running:
		return be.E(be.InUse, "cannot run a command in %s: the zone %s runs there", c.Root, e.Name)
	}
	defer func() {
		if herr := r.halt(ctx, e); herr != nil {
			err = errors.Join(err, fmt.Errorf("cannot halt the zone %s after a command: %w", e.Name, herr))
		}
	}()
	if err := r.boot(ctx, e, "--", "-m", "milestone=none"); err != nil {
		return fmt.Errorf("cannot run a command in %s: %w", c.Root, err)
	}
	return r.programs.Attach(ctx, enter(e.Name, line), environ, c.Stdin, c.Stdout, c.Stderr)
}

// shellLine is the command with its environment as a shell takes it: zlogin hands
// over neither arguments nor an environment.
func shellLine(c guest.Command) (string, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return "", be.E(be.Usage, "no command is given")
	}
	// env(1) would take them for something else.
	if strings.HasPrefix(c.Argv[0], "-") || strings.Contains(c.Argv[0], "=") {
		return "", be.E(be.Usage, "cannot run %q: it is no command's name", c.Argv[0])
	}
	words := []string{"exec", "/usr/bin/env", "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/sbin/sh", "PATH=/usr/sbin:/usr/bin:/sbin"}
	if term := os.Getenv("TERM"); term != "" {
		words = append(words, quote("TERM="+term))
	}
	for _, v := range c.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.HasPrefix(name, "-") {
			return "", be.E(be.Usage, "cannot run a command with %q in its environment", v)
		}
		words = append(words, quote(v))
	}
	for _, a := range c.Argv {
		words = append(words, quote(a))
	}
	return strings.Join(words, " "), nil
}

// quote is a word as sh(1) has it.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
