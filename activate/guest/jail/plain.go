package jail

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// plain finds the jails of jail.conf(5), each in the file that rc.d/jail would
// start it from (libexec/rc/rc.d/jail, parse_options): with a jail_list in
// rc.conf, or by name, /etc/jail.NAME.conf, /etc/jail.conf.d/NAME.conf, then
// jail_conf; without one jail_conf before them.
//
// They are started by jail(8) itself: it fails if a command of the jail does
// (jail(8), exec.start), while rc.d/jail prints that and ends well. What
// rc.conf(5) has besides is for the start of the host: jail_enable, and the
// order of jail_list.
func (r *Runtime) plain(ctx context.Context) (list []entry, wrong []error) {
	main, err := r.rcValue(ctx, "jail_conf")
	if err != nil {
		return nil, []error{err}
	}
	if main == "" {
		main = "/etc/jail.conf"
	}
	names, err := r.rcValue(ctx, "jail_list")
	if err != nil {
		return nil, []error{err}
	}
	obsolete, err := r.obsolete()
	if err != nil {
		return nil, []error{err}
	}
	var paths []string
	for _, pattern := range []string{"/etc/jail.*.conf", "/etc/jail.conf.d/*.conf"} {
		found, err := r.files.glob(pattern)
		if err != nil {
			return nil, []error{err}
		}
		paths = append(paths, found...)
	}
	if there, err := r.files.exists(main); err != nil {
		wrong = append(wrong, err)
	} else if there {
		paths = append(slices.DeleteFunc(paths, func(p string) bool { return p == main }), main)
	}
	best := map[string]int{}
	for _, file := range paths {
		jails, err := parse(file, r.files)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		for _, c := range jails {
			rank := rankOf(file, main, c.name, strings.TrimSpace(names) != "")
			if have, ok := best[c.name]; ok && have <= rank {
				continue
			}
			e := entry{kernel: c.name, where: c.where, configured: c}
			if c.err == nil {
				if at, ok := obsolete[rcName(c.name)]; ok {
					c.err = fmt.Errorf("%s: cannot use the jail %s: its settings are in rc.conf(5), where they are obsolete: move them to jail.conf(5)", at, c.name)
				}
			}
			root, err := rootOf(c)
			if c.err == nil {
				c.err = err
			}
			e.configured = c
			e.Name, e.Root = c.name, root
			e.start = []string{jail, "-q", "-f", file, "-c", c.name}
			e.stop = []string{jail, "-q", "-f", file, "-r", c.name}
			list = slices.DeleteFunc(list, func(old entry) bool { return old.Name == c.name })
			list = append(list, e)
			best[c.name] = rank
		}
	}
	kept := list[:0]
	for _, e := range list {
		if e.configured.err != nil {
			wrong = append(wrong, e.configured.err)
		} else if e.Root != "" {
			kept = append(kept, e)
		}
	}
	return kept, wrong
}

// rankOf orders the files that a jail is in, the one to use first.
func rankOf(file, main, name string, listed bool) int {
	switch {
	case file == main && !listed:
		return 0
	case file == "/etc/jail."+name+".conf":
		return 1
	case file == "/etc/jail.conf.d/"+name+".conf":
		return 2
	case file == main:
		return 3
	}
	return 4
}

// rcValue asks sysrc(8) for a variable of rc.conf(5), as rc.d/jail has it; "" if
// it is not set.
func (r *Runtime) rcValue(ctx context.Context, name string) (string, error) {
	text, err := r.ask(ctx, sysrc, "-s", "jail", "-i", "-n", name)
	if err != nil {
		return "", fmt.Errorf("cannot ask for %s of rc.conf(5): %w", name, err)
	}
	return strings.TrimRight(text, "\n"), nil
}

// rcName is a jail's name as part of a variable's.
func rcName(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, name)
}

var (
	rcFiles    = []string{"/etc/rc.conf", "/etc/rc.conf.local", "/etc/rc.conf.d/jail", "/usr/local/etc/rc.conf.d/jail"}
	rcObsolete = regexp.MustCompile(`^[ \t]*jail_([A-Za-z0-9_]+)_(rootdir|conf)=`)
)

// obsolete finds the jails, by rcName, that rc.d/jail takes from rc.conf(5), or
// from a file that is named there.
func (r *Runtime) obsolete() (map[string]where, error) {
	found := map[string]where{}
	for _, file := range rcFiles {
		there, err := r.files.exists(file)
		if err == nil && there {
			var text string
			if text, err = r.files.read(file); err == nil {
				n := 0
				for line := range strings.Lines(text) {
					n++
					if m := rcObsolete.FindStringSubmatch(line); m != nil {
						found[m[1]] = where{path.Clean(file), n}
					}
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read rc.conf(5): %w", err)
		}
	}
	return found, nil
}
