package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"beadm/activate"
	"beadm/be"
)

const (
	jailProgram = "/usr/sbin/jail"
	jlsProgram  = "/usr/sbin/jls"
)

// jailParams are KEY=VALUE in the order they were given; a later one of the
// same key takes the place of the earlier.
type jailParams []string

func (p jailParams) set(key, value string) jailParams {
	return append(p.unset(key), key+"="+value)
}

func (p jailParams) unset(key string) jailParams {
	return slices.DeleteFunc(slices.Clone(p), func(param string) bool { return strings.HasPrefix(param, key+"=") })
}

func (p jailParams) get(key string) string {
	for _, param := range p {
		if k, value, _ := strings.Cut(param, "="); k == key {
			return value
		}
	}
	return ""
}

var (
	jailKey = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.$-]*$`)
	// What bectl itself says of the jail.
	jailOwn = []string{"command", "exec.start", "nopersist", "persist"}
)

// jailOf makes the parameters out of bectl's defaults and what was given.
func (b *bectl) jailOf(given []option) (p jailParams, err error) {
	p = jailParams{"persist=true", "allow.mount=true", "allow.mount.devfs=true", "enforce_statfs=1"}
	for _, o := range given {
		switch key, value, is := strings.Cut(o.value, "="); o.letter {
		case 'o':
			switch {
			case !is:
				return nil, b.plain(fmt.Sprintf("bectl jail: malformed jail option '%s'", o.value))
			case !jailKey.MatchString(key) || slices.ContainsFunc(jailOwn, func(own string) bool { return strings.HasPrefix(key, own) }):
				return nil, b.plain("invalid jail parameter: " + key)
			}
			p = p.set(key, value)
		case 'u':
			p = p.unset(key)
		}
	}
	return p, nil
}

func bectlJailArgs(b *bectl, given []option) error {
	if _, err := b.jailOf(given); err != nil {
		return err
	}
	if len(b.args) < 1 {
		return b.wrong("missing boot environment name")
	}
	return nil
}

// bectlJail runs a shell or a utility in a boot environment. Where there are no
// jails it is confined as by beadm run, and what makes a jail is passed over.
func bectlJail(b *bectl, given []option) error {
	const failed = "could not mount bootenv"
	name, utility := b.args[0], b.args[1:]
	l := b.find(name)
	if l == nil {
		return b.plain(libbeWords[errNoEnt] + "\n" + failed)
	}
	if runtime.GOOS != "freebsd" {
		if has(given, 'b') {
			return b.plain("bectl jail: there are no jails on " + runtime.GOOS + " that could go on running: give no -b")
		}
		err := b.t.Run(b.Context.Context, l.Name, activate.RunOptions{Command: utility, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
		if exit := activate.ExitStatus(0); err == nil || errors.As(err, &exit) {
			return nil // bectl ends with 0 whatever the utility ended with
		}
		return b.plain(fmt.Sprintf("bectl: %v\n%s", err, failed))
	}
	params, err := b.jailOf(given)
	if err != nil {
		return err
	}
	ctx := b.Context.Context
	at, err := b.t.Mount(ctx, l.Name, params.get("path"), false, false)
	if err != nil {
		return b.plain(fmt.Sprintf("bectl: %v\n%s", err, failed))
	}
	interactive := !has(given, 'b')
	cmd := exec.Command(jailProgram, jailArgs(params, l.Name, at, interactive, utility)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) {
		fmt.Fprintf(b.err, "bectl jail: failed to execute: %v\n", err)
	}
	if interactive && !has(given, 'U') {
		return b.unjail(context.WithoutCancel(ctx), l.Name, at, jailAt(ctx, at))
	}
	return nil
}

// jailArgs are those of jail(8).
func jailArgs(p jailParams, name, at string, interactive bool, utility []string) []string {
	p = p.set("host.hostname", cmp.Or(p.get("host.hostname"), name)).set("path", at)
	args := append([]string{"-c"}, p...)
	if interactive {
		if len(utility) == 0 {
			utility = []string{"/bin/sh"}
		}
		args = append(append(args, "command="+utility[0]), utility[1:]...)
	}
	return args
}

// bectlUnjail ends the jail of that id, name or boot environment.
func bectlUnjail(b *bectl, given []option) error {
	ctx, who := b.Context.Context, b.args[0]
	jid, at := 0, ""
	if runtime.GOOS == "freebsd" {
		for _, j := range jails(ctx) {
			if j.name == who || strconv.Itoa(j.jid) == who {
				jid, at = j.jid, j.path
			}
		}
		if l := b.find(who); jid == 0 && l != nil && l.Mountpoint != "" {
			jid, at = jailAt(ctx, l.Mountpoint), l.Mountpoint
		}
	}
	if jid <= 0 {
		return b.plain(fmt.Sprintf("bectl %s: failed to locate BE by '%s'", b.name, who))
	}
	for _, l := range b.list {
		if l.Mountpoint == at && !l.Running {
			return b.unjail(ctx, l.Name, at, jid)
		}
	}
	return b.plain(fmt.Sprintf("bectl %s: jail requested by '%s' not a BE", b.name, who))
}

// unjail removes the jail, if it is there still, and unmounts the boot
// environment with what the jail has mounted in it.
func (b *bectl) unjail(ctx context.Context, name, at string, jid int) error {
	if jid > 0 {
		if out, err := exec.CommandContext(ctx, jailProgram, "-r", strconv.Itoa(jid)).CombinedOutput(); err != nil {
			return b.plain(fmt.Sprintf("unable to remove jail: %v: %s", err, strings.TrimSpace(string(out))))
		}
	}
	if err := b.t.Unmount(ctx, name, true, false); err != nil && be.KindOf(err) != be.NotFound {
		return b.fail(number(err), err, "")
	}
	return nil
}

type listedJail struct {
	jid        int
	name, path string
}

// jails are those that run; none where that cannot be asked.
func jails(ctx context.Context) []listedJail {
	cmd := exec.CommandContext(ctx, jlsProgram, "jid", "name", "path")
	cmd.Stderr = io.Discard
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	return parseJails(string(out))
}

// parseJails reads jls jid name path: a path may have spaces, nothing else.
func parseJails(text string) (list []listedJail) {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(f) != 3 {
			continue
		}
		if jid, err := strconv.Atoi(f[0]); err == nil && jid > 0 {
			list = append(list, listedJail{jid, f[1], f[2]})
		}
	}
	return list
}

func jailAt(ctx context.Context, path string) int {
	for _, j := range jails(ctx) {
		if j.path == path {
			return j.jid
		}
	}
	return 0
}
