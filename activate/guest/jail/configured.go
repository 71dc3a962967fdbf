package jail

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// configured is a jail as its configuration has it.
type configured struct {
	name   string
	params []setting
	where  where
	err    error // why jail(8) would not start it; the others are not concerned
}

// setting is a parameter with its variables worked out. A boolean may be set by
// its name alone, with or without "no" before its last part.
type setting struct {
	name   string
	values []string
}

// last is the value of a parameter that has one, which is the last of several;
// "" if there is none.
func (c configured) last(name string) string {
	for _, p := range c.params {
		if p.name == name && len(p.values) > 0 {
			return p.values[len(p.values)-1]
		}
	}
	return ""
}

// parse returns the jails of a configuration in the order of the file. An error
// names file and line; one of a single jail is with that jail.
func parse(path string, f files) ([]configured, error) {
	p := &parser{files: f}
	if err := p.file(path, where{}); err != nil {
		return nil, err
	}
	now, at := settle(globalsAtFirst(p.items)), strayGlobal(p.items)
	if at.file == "" {
		return now, nil
	}
	// In older releases of FreeBSD a parameter outside of all jails overrides what
	// stands before it, in newer ones what stands before the first such
	// (jailparse.y at 8d425bf, and with nested jails).
	before := settle(globalsInPlace(p.items))
	for i := range now {
		if now[i].err == nil && !reflect.DeepEqual(now[i].params, before[i].params) {
			now[i].err = fmt.Errorf("%s: a parameter outside of all jails stands after some, and what it means for %s depends on FreeBSD's release: move it to the top", at, now[i].name)
		}
	}
	return now, nil
}

// strayGlobal is where the last parameter outside of all sections stands that
// comes after one.
func strayGlobal(items []item) (at where) {
	seen := false
	for _, i := range items {
		if i.section != nil {
			seen = true
		} else if seen {
			at = i.global.where
		}
	}
	return at
}

func globalsAtFirst(items []item) (list []section) {
	global := -1
	for _, i := range items {
		switch {
		case i.section != nil:
			list = append(list, *i.section)
			continue
		case global < 0:
			global = len(list)
			list = append(list, section{name: "*", where: i.global.where})
		}
		list[global].params = append(list[global].params, i.global)
	}
	return list
}

func globalsInPlace(items []item) (list []section) {
	for _, i := range items {
		if i.section != nil {
			list = append(list, *i.section)
			continue
		}
		if len(list) == 0 || list[len(list)-1].name != "*" {
			list = append(list, section{name: "*", where: i.global.where})
		}
		to := &list[len(list)-1]
		to.params = append(slices.Clip(to.params), i.global)
	}
	return list
}

// isPattern says whether a section is for all jails of a pattern: one with a
// part that is a star.
func isPattern(name string) bool { return slices.Contains(strings.Split(name, "."), "*") }

// matches says whether a jail is of a pattern: a star stands for one part of its
// name, the last for one or more.
func matches(jail, pattern string) bool {
	j, p := strings.Split(jail, "."), strings.Split(pattern, ".")
	for len(j) > 1 && len(p) > 1 {
		if j[0] != p[0] && p[0] != "*" {
			return false
		}
		j, p = j[1:], p[1:]
	}
	rest := strings.Join(p, ".")
	return rest == "*" || rest == strings.Join(j, ".")
}

// settle works out the jails of sections: config.c, load_config.
func settle(sections []section) []configured {
	var jails []configured
	for i, s := range sections {
		if isPattern(s.name) {
			continue
		}
		c := configured{name: s.name, where: s.where}
		list := settled{{param: param{name: "name", values: []value{{{text: s.name}}}, where: s.where}}}
		for k, from := range sections {
			if k != i && !(isPattern(from.name) && matches(s.name, from.name)) {
				continue
			}
			for _, p := range from.params {
				if err := list.add(p); err != nil && c.err == nil {
					c.err = err
				}
			}
		}
		if numeral.MatchString(s.name) {
			c.err = fmt.Errorf("%s: the jail %s is named by its number, and has no name that lasts", s.where, s.name)
		}
		for _, other := range jails {
			if other.name == s.name {
				c.err = fmt.Errorf("%s: %s is defined in %s already", s.where, s.name, other.where)
			}
		}
		for _, p := range list {
			values, err := list.resolve(p)
			if err != nil && c.err == nil {
				c.err = err
			}
			if !p.variable {
				c.params = append(c.params, setting{p.name, values})
			}
		}
		jails = append(jails, c)
	}
	return jails
}

var numeral = regexp.MustCompile(`^\s*[-+]?[0-9]+$`)

// settled are the parameters of one jail.
type settled []*settling

type settling struct {
	param
	resolving, resolved bool
	out                 []string
	err                 error
}

// equal says whether two names are of one parameter: with and without "no" before
// one of their parts (equalopts of sbin/mount/getmntopts.c).
func equal(a, b string) bool {
	for {
		if a == b || a == "no"+b || "no"+a == b {
			return true
		}
		part, rest, more := strings.Cut(a, ".")
		other, rest2, more2 := strings.Cut(b, ".")
		if !more || !more2 || part != other {
			return false
		}
		a, b = rest, rest2
	}
}

// known are the parameters that jail(8) knows by itself: no variable may be
// named like one (config.c, intparams).
var known = []string{
	"allow.dying", "command", "depend", "exec.clean", "exec.consolelog", "exec.fib", "exec.jail_user",
	"exec.poststart", "exec.poststop", "exec.prepare", "exec.prestart", "exec.prestop", "exec.release",
	"exec.created", "exec.start", "exec.stop", "exec.system_jail_user", "exec.system_user", "exec.timeout",
	"interface", "ip_hostname", "mount", "mount.devfs", "mount.fdescfs", "mount.procfs", "mount.fstab",
	"stop.timeout", "vnet.interface", "zfs.dataset", "allow.chflags", "allow.mount", "allow.raw_sockets",
	"allow.set_hostname", "allow.socket_af", "allow.sysvipc", "devfs_ruleset", "host.hostname", "ip4.addr",
	"ip6.addr", "jid", "name", "path", "persist", "securelevel", "vnet",
}

func (l *settled) add(p param) error {
	for _, have := range *l {
		if !equal(have.name, p.name) {
			continue
		}
		if have.variable != p.variable {
			return fmt.Errorf("%s: the variable $%s is named like a parameter", p.where, p.name)
		}
		if have.name == "name" || have.name == "jid" {
			return fmt.Errorf("%s: %s is set already", p.where, have.name)
		}
		if !p.append || len(p.values) == 0 {
			have.values = nil
		}
		have.name, have.values, have.where = p.name, append(slices.Clip(have.values), p.values...), p.where
		return nil
	}
	if p.variable && slices.ContainsFunc(known, func(k string) bool { return equal(k, p.name) }) {
		return fmt.Errorf("%s: the variable $%s is named like a parameter", p.where, p.name)
	}
	*l = append(*l, &settling{param: p})
	return nil
}

// resolve puts in the values of variables. One of several values becomes as
// many, if nothing stands beside it.
func (l settled) resolve(p *settling) ([]string, error) {
	if p.resolved {
		return p.out, p.err
	}
	if p.resolving {
		return nil, fmt.Errorf("%s: the value of %s is made of itself", p.where, p.name)
	}
	p.resolving = true
	for _, v := range p.values {
		values, err := l.expand(v, p.where)
		if err != nil {
			p.err = err
			break
		}
		if p.out = append(p.out, values...); len(p.out) > maxValues {
			p.err = fmt.Errorf("%s: %s has too many values", p.where, p.name)
			break
		}
	}
	p.resolving, p.resolved = false, true
	return p.out, p.err
}

// What a few lines of variables could otherwise fill the memory with.
const (
	maxValues = 1 << 12
	maxLength = 1 << 16
)

func (l settled) expand(v value, at where) ([]string, error) {
	if len(v) == 1 && v[0].variable != "" {
		return l.variable(v[0].variable, at)
	}
	var out strings.Builder
	for i, piece := range v {
		text := piece.text
		if piece.variable != "" {
			values, err := l.variable(piece.variable, at)
			if err != nil {
				return nil, err
			}
			if len(values) > 1 {
				if !slices.ContainsFunc(v[:i], holds) && !slices.ContainsFunc(v[i+1:], holds) {
					return values, nil
				}
				return nil, fmt.Errorf("%s: $%s has several values, and stands inside of another", at, piece.variable)
			}
			text = values[0]
		}
		if out.WriteString(text); out.Len() > maxLength {
			return nil, fmt.Errorf("%s: a value is too long", at)
		}
	}
	return []string{out.String()}, nil
}

// holds says whether a piece of a value is anything: quotes leave empty ones.
func holds(p piece) bool { return p != piece{} }

func (l settled) variable(name string, at where) ([]string, error) {
	for _, p := range l {
		if p.name != name {
			continue
		}
		values, err := l.resolve(p)
		if err != nil {
			return nil, err
		}
		if len(values) > 0 {
			return values, nil
		}
	}
	return nil, fmt.Errorf("%s: $%s has no value", at, name)
}
