package jail

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"beadm/activate/guest"
	"beadm/be"
)

// kept are the parameters of a guest that bind what runs in its root, too; with
// "no" before the last part they count as well. None that concern the network is
// among them: with the host's they would mean more than they do to the guest.
var kept = []string{
	"allow.chflags", "allow.mlock", "allow.read_msgbuf", "allow.reserved_ports", "allow.set_hostname",
	"allow.suser", "allow.unprivileged_proc_debug", "enforce_statfs", "host.domainname", "host.hostid",
	"host.hostuuid", "osreldate", "osrelease", "securelevel",
}

// Run makes a jail for the command: of its own name, with that root, a devfs(5)
// under the ruleset for jails, the host's addresses, and of the guest's own
// parameters those that bind it. It is removed with all that runs in it, and
// what it had mounted. There is no terminal to control: what reads one has to be
// told not to.
//
// jail(8) gets a file, and not the parameters, because it unmounts only what a
// file says it mounted.
func (r *Runtime) Run(ctx context.Context, g guest.Guest, c guest.Command) (err error) {
	env, err := environment(c)
	if err != nil {
		return err
	}
	e, _, err := r.look(ctx, g)
	if err != nil {
		return err
	}
	now, err := r.running(ctx)
	if err != nil {
		return err
	}
	for _, j := range now {
		if r.same(j.path, c.Root) && j.name != runName(e.kernel) {
			return be.E(be.InUse, "cannot run a command in %s: the jail %s runs there", c.Root, j.name)
		}
	}
	name := runName(e.kernel)
	file := "/var/run/" + name + ".conf"
	remove := func() error {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
		defer cancel()
		return r.removeRun(last, name, file)
	}
	// Of one that was killed with beadm.
	if err := remove(); err != nil {
		return fmt.Errorf("cannot run a command in %s: %w", c.Root, err)
	}
	if err := r.writeRun(file, runConf(name, e, c.Root)); err != nil {
		return fmt.Errorf("cannot run a command in %s: %w", c.Root, err)
	}
	defer func() {
		if rerr := remove(); rerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot remove the jail of a command in %s: %w", c.Root, rerr))
		}
	}()
	if err := r.programs.Order(ctx, []string{jail, "-q", "-f", file, "-c", name}); err != nil {
		return be.E(be.KindOf(err), "cannot run a command in %s: %w", c.Root, err)
	}
	if now, err = r.running(ctx); err != nil {
		return err
	}
	j, ok := now[name]
	if !ok {
		return be.E(be.Other, "cannot run a command in %s: its jail is not there", c.Root)
	}
	return r.programs.Attach(ctx, slices.Concat([]string{jexec, strconv.Itoa(j.jid)}, c.Argv), env, c.Stdin, c.Stdout, c.Stderr)
}

// environment checks the command, and returns what it gets.
func environment(c guest.Command) ([]string, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return nil, be.E(be.Usage, "no command is given")
	}
	if !strings.HasPrefix(c.Root, "/") || strings.ContainsFunc(c.Root, func(r rune) bool { return r < ' ' }) {
		return nil, be.E(be.Usage, "cannot run a command in %q: it is no directory's full name", c.Root)
	}
	env := []string{"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", environ[1]}
	if term := os.Getenv("TERM"); term != "" {
		env = append(env, "TERM="+term)
	}
	for _, v := range c.Env {
		// jexec(8) is the host's, and run with the same.
		if strings.HasPrefix(v, "LD_") || !strings.Contains(v, "=") {
			return nil, be.E(be.Usage, "cannot run a command with %q in its environment", v)
		}
	}
	return append(env, c.Env...), nil
}

// runName is the same each time, so that what was left is found.
func runName(kernel string) string {
	sum := sha256.Sum256([]byte(kernel))
	return "beadm-run-" + hex.EncodeToString(sum[:6])
}

// quote is a string as jail.conf(5) has it.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func runConf(name string, e entry, root string) string {
	host := e.configured.last("host.hostname")
	if host == "" {
		host = e.Name
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by beadm.\n%s {\n", quote(name))
	for _, p := range [][2]string{
		{"path", root}, {"host.hostname", host}, {"ip4", "inherit"}, {"ip6", "inherit"}, {"devfs_ruleset", "4"}, {"stop.timeout", "0"},
	} {
		fmt.Fprintf(&b, "\t%s = %s;\n", p[0], quote(p[1]))
	}
	b.WriteString("\tmount.devfs;\n\tpersist;\n")
	for _, p := range e.configured.params {
		if !slices.ContainsFunc(kept, func(k string) bool { return equal(k, p.name) }) {
			continue
		}
		b.WriteString("\t" + p.name)
		for i, v := range p.values {
			b.WriteString([]string{" = ", ", "}[min(i, 1)] + quote(v))
		}
		b.WriteString(";\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (r *Runtime) writeRun(file, text string) error {
	f, err := os.OpenFile(r.files.at(file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// removeRun removes the jail of a command, if there is one. It stays on record
// until it is gone.
func (r *Runtime) removeRun(ctx context.Context, name, file string) error {
	recorded, err := r.files.exists(file)
	if err != nil {
		return err
	}
	now, err := r.running(ctx)
	if err != nil {
		return err
	}
	if jids := within(now, name); jids != nil {
		var orderErr error
		if recorded {
			orderErr = r.programs.Order(ctx, []string{jail, "-q", "-f", file, "-r", name})
		}
		if gone, err := r.gone(ctx, name, jids); err != nil {
			return err
		} else if !gone {
			if err := r.remove(ctx, name, jids); err != nil {
				return errors.Join(orderErr, err)
			}
		}
		if orderErr != nil {
			return orderErr
		}
	}
	if err := os.Remove(r.files.at(file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
