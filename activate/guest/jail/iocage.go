package jail

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// iocageActive marks the pool of iocage (zfs.py, IOCAGE_POOL_PROP).
const iocageActive = "org.freebsd.ioc:active"

var askPools = []string{zfs, "list", "-H", "-d", "0", "-o", "name," + iocageActive}

// iocages finds the jails of iocage: jails/NAME/config.json and the root beside
// it, where POOL/iocage is mounted. It starts and stops them itself, for it has
// no jail.conf: it passes all to jail(8) as arguments (ioc_start.py).
func (r *Runtime) iocages(ctx context.Context) (list []entry, wrong []error) {
	if there, err := r.files.exists(iocage); err != nil {
		return nil, []error{err}
	} else if !there {
		return nil, nil
	}
	dir, err := r.iocageDir(ctx)
	if err != nil {
		return nil, []error{err}
	}
	if dir == "" {
		return nil, nil
	}
	names, err := r.files.names(path.Join(dir, "jails"))
	if err != nil {
		return nil, []error{fmt.Errorf("cannot list the jails of iocage: %w", err)}
	}
	for _, name := range names {
		file := path.Join(dir, "jails", name, "config.json")
		if there, err := r.files.exists(file); err != nil {
			wrong = append(wrong, err)
			continue
		} else if !there {
			continue
		}
		text, err := r.files.read(file)
		var conf map[string]any
		if err == nil {
			err = json.Unmarshal([]byte(text), &conf)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: cannot read the jail %s: %w", file, name, err))
			continue
		}
		e := entry{
			kernel:     "ioc-" + strings.ReplaceAll(name, ".", "_"), // ioc_stop.py
			where:      where{file, 1},
			start:      []string{iocage, "start", name},
			stop:       []string{iocage, "stop", name},
			configured: configured{name: name, params: iocageParams(conf)},
		}
		e.Name, e.Root = name, path.Join(dir, "jails", name, "root")
		list = append(list, e)
	}
	return list, wrong
}

// iocageKeys are what is used of config.json, and the parameters that they are.
var iocageKeys = [][2]string{
	{"enforce_statfs", "enforce_statfs"},
	{"exec_start", "exec.start"},
	{"host_hostname", "host.hostname"},
	{"securelevel", "securelevel"},
}

func iocageParams(conf map[string]any) (params []setting) {
	for _, k := range iocageKeys {
		switch v := conf[k[0]].(type) {
		case string:
			params = append(params, setting{k[1], []string{v}})
		case float64:
			params = append(params, setting{k[1], []string{strconv.FormatFloat(v, 'f', -1, 64)}})
		default:
			if k[0] == "exec_start" {
				// It is in the defaults of iocage (ioc_json.py).
				params = append(params, setting{k[1], []string{"/bin/sh /etc/rc"}})
			}
		}
	}
	return params
}

// iocageDir is where the dataset of iocage is mounted, "" if no pool is its.
func (r *Runtime) iocageDir(ctx context.Context) (string, error) {
	text, err := r.ask(ctx, askPools...)
	if err != nil {
		return "", fmt.Errorf("cannot find the pool of iocage: %w", err)
	}
	pool := ""
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		if !ok || name == "" || strings.HasPrefix(name, "-") {
			return "", fmt.Errorf("cannot find the pool of iocage: zfs says %q", line)
		}
		if value != "yes" {
			continue
		}
		if pool != "" {
			return "", fmt.Errorf("cannot find the pool of iocage: %s and %s both have %s", pool, name, iocageActive)
		}
		pool = name
	}
	if pool == "" {
		return "", nil
	}
	text, err = r.ask(ctx, zfs, "get", "-H", "-o", "value", "mountpoint", pool+"/iocage")
	if err != nil {
		return "", fmt.Errorf("cannot find where iocage is: %w", err)
	}
	dir := strings.TrimRight(text, "\n")
	if !strings.HasPrefix(dir, "/") || strings.Contains(dir, "\n") {
		return "", fmt.Errorf("cannot find where iocage is: the mountpoint of %s/iocage is %q", pool, dir)
	}
	return path.Clean(dir), nil
}
