package jail

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"
)

const bastilleConf = "/usr/local/etc/bastille/bastille.conf"

// bastilles finds the jails of bastille: JAILSDIR/NAME/jail.conf, with the root
// beside it. It starts and stops them itself, for the rules of pf(4) and the
// limits that it sets besides (start.sh and stop.sh of BastilleBSD/bastille).
func (r *Runtime) bastilles(context.Context) (list []entry, wrong []error) {
	if there, err := r.files.exists(bastille); err != nil {
		return nil, []error{err}
	} else if !there {
		return nil, nil
	}
	dir, err := r.bastilleDir()
	if err != nil {
		return nil, []error{err}
	}
	names, err := r.files.names(dir)
	if err != nil {
		return nil, []error{fmt.Errorf("cannot list the jails of bastille: %w", err)}
	}
	for _, name := range names {
		file := path.Join(dir, name, "jail.conf")
		if there, err := r.files.exists(file); err != nil {
			wrong = append(wrong, err)
			continue
		} else if !there {
			continue
		}
		jails, err := parse(file, r.files)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if len(jails) != 1 || jails[0].name != name {
			wrong = append(wrong, fmt.Errorf("%s: it is not of the jail %s alone", file, name))
			continue
		}
		c := jails[0]
		root, err := rootOf(c)
		switch {
		case c.err != nil:
			wrong = append(wrong, c.err)
			continue
		case err != nil:
			wrong = append(wrong, err)
			continue
		case root == "":
			wrong = append(wrong, fmt.Errorf("%s: the jail %s has no path", c.where, name))
			continue
		case !bastilleName.MatchString(name):
			wrong = append(wrong, fmt.Errorf("%s: cannot use the jail %q: bastille could take its name for another's", c.where, name))
			continue
		}
		e := entry{kernel: name, where: c.where, configured: c, start: []string{bastille, "start", name}, stop: []string{bastille, "stop", name}}
		e.Name, e.Root = name, root
		list = append(list, e)
	}
	return list, wrong
}

// bastilleName has no dot: bastille looks a name up as a pattern.
var bastilleName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)

var bastilleSets = regexp.MustCompile(`(?m)^[ \t]*(bastille_prefix|bastille_jailsdir)=("[^"\n]*"|[^\s#"]*)`)

// bastilleDir is where bastille.conf puts the jails. That file is a script: only
// what bastille itself writes there is followed.
func (r *Runtime) bastilleDir() (string, error) {
	set := map[string]string{"bastille_prefix": "/usr/local/bastille", "bastille_jailsdir": "${bastille_prefix}/jails"}
	if there, err := r.files.exists(bastilleConf); err != nil {
		return "", err
	} else if there {
		text, err := r.files.read(bastilleConf)
		if err != nil {
			return "", err
		}
		for _, m := range bastilleSets.FindAllStringSubmatch(text, -1) {
			set[m[1]] = strings.Trim(m[2], `"`)
		}
	}
	dir := strings.ReplaceAll(set["bastille_jailsdir"], "${bastille_prefix}", set["bastille_prefix"])
	if !strings.HasPrefix(dir, "/") || strings.ContainsAny(dir, "$`\\'\"") {
		return "", fmt.Errorf("cannot follow bastille_jailsdir in %s: a shell would have to work out %q", bastilleConf, dir)
	}
	return path.Clean(dir), nil
}
