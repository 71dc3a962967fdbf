package activate

import (
	"bufio"
	"bytes"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"beadm/be"
)

// Conf is beadm.conf(5).
type Conf struct {
	Hold          time.Duration // how long the checks must hold before a trial is confirmed
	ConfirmWithin time.Duration // the dead-man timer of a trial
	Panic         int           // seconds from a kernel panic of a trial to its reset
	Checks        []string      // further health checks, shell commands
	CheckTimeout  time.Duration // the longest one of them may take
	Notify        string        // a shell command that hears of a failed trial; may be empty
	Guests        GuestConf     // of the guests
	GuestDir      string        // where nspawn machines are; empty: their own place
	LXCPath       string        // where LXC containers are; empty: their own place
	GuestCommands []GuestCommands
	SharePaths    []string // changes to what is shared: further paths, and with a "!" before it one that is not (share.Profile)
}

// DefaultConf is what holds without a file.
func DefaultConf() Conf {
	return Conf{Hold: 60 * time.Second, ConfirmWithin: 10 * time.Minute, CheckTimeout: 30 * time.Second, Panic: 30,
		Guests: GuestConf{Hold: 3 * time.Second, Within: 2 * time.Minute}}
}

// ConfKeys are the keys of beadm.conf(5).
func ConfKeys() []string {
	return []string{"confirm.hold", "confirm.within", "confirm.check", "confirm.timeout", "guest.check", "guest.hold", "guest.lxc.path", "guest.nspawn.dir", "guest.within", "notify", "panic", "share.path"}
}

// ParseConf reads beadm.conf(5): lines of KEY = VALUE, # begins a comment. An
// error is of kind Usage and names file, line and what is wrong with it.
func ParseConf(file string, data []byte) (Conf, error) {
	c := DefaultConf()
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || value == "" {
			return c, be.E(be.Usage, "%s:%d: %q is not KEY = VALUE", file, n, line)
		}
		var err error
		switch key {
		case "confirm.hold":
			c.Hold, err = duration(value)
		case "confirm.within":
			c.ConfirmWithin, err = duration(value)
		case "confirm.check":
			c.Checks = append(c.Checks, value)
		case "confirm.timeout":
			c.CheckTimeout, err = duration(value)
		case "guest.check":
			c.Guests.Checks = append(c.Guests.Checks, value)
		case "guest.hold":
			c.Guests.Hold, err = duration(value)
		case "guest.within":
			c.Guests.Within, err = duration(value)
		case "guest.nspawn.dir":
			if c.GuestDir = value; !path.IsAbs(value) || path.Clean(value) != value {
				err = be.E(be.Usage, "%q is no directory such as /var/lib/machines", value)
			}
		case "notify":
			c.Notify = value
		case "panic":
			c.Panic, err = strconv.Atoi(value)
			if err == nil && c.Panic < 1 {
				err = be.E(be.Usage, "it must be at least 1, or a panic never ends")
			}
		case "share.path":
			c.SharePaths = append(c.SharePaths, value)
			if p := strings.TrimPrefix(value, "!"); !path.IsAbs(p) || path.Clean(p) != p {
				err = be.E(be.Usage, "%q is no path such as /var/www, or !/var/tmp", value)
			}
		case "guest.lxc.path":
			if c.LXCPath = value; !path.IsAbs(value) || path.Clean(value) != value {
				err = be.E(be.Usage, "%q is no directory such as /var/lib/lxc", value)
			}
		default:
			if !c.guestCommand(key, value) {
				return c, be.E(be.Usage, "%s:%d: there is no key %q: see beadm.conf(5)", file, n, key)
			}
		}
		if err != nil {
			return c, be.E(be.Usage, "%s:%d: %s: %w", file, n, key, err)
		}
	}
	return c, lines.Err()
}

// GuestCommands are how a guest is run by commands of the administrator's
// (package command).
type GuestCommands struct {
	Name, Root, Start, Stop, Kill, Running, Ready, Run string
}

// guestCommand takes guest.NAME.WHAT, and says whether it is one.
func (c *Conf) guestCommand(key, value string) bool {
	rest, ok := strings.CutPrefix(key, "guest.")
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot < 1 {
		return false
	}
	name := rest[:dot]
	i := slices.IndexFunc(c.GuestCommands, func(g GuestCommands) bool { return g.Name == name })
	g := GuestCommands{Name: name}
	if i >= 0 {
		g = c.GuestCommands[i]
	}
	field, ok := map[string]*string{
		"root": &g.Root, "start": &g.Start, "stop": &g.Stop, "kill": &g.Kill, "running": &g.Running, "ready": &g.Ready, "run": &g.Run,
	}[rest[dot+1:]]
	if !ok {
		return false
	}
	*field = value
	if i < 0 {
		c.GuestCommands = append(c.GuestCommands, g)
	} else {
		c.GuestCommands[i] = g
	}
	return true
}

// maxWithin is the longest time that a trial may have.
const maxWithin = 30 * 24 * time.Hour

// CheckWithin refuses (Usage) a time in which a trial could not be confirmed:
// its checks have to hold for c.Hold, and begin to be bad while it comes up.
// Nor may it be longer than 30 days.
func (c Conf) CheckWithin(within time.Duration) error {
	switch {
	case within > maxWithin:
		return be.E(be.Usage, "a trial that is confirmed within %s is too long: give 30 days (720h) at most", within)
	case within/2 < c.Hold:
		return be.E(be.Usage, "a trial could not be confirmed within %s: its checks must hold for %s (confirm.hold), so give at least twice that", within, c.Hold)
	}
	return nil
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d < time.Second {
		err = be.E(be.Usage, "%s is shorter than a second", s)
	}
	return d, err
}
