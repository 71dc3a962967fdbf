package jail

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"beadm/be"
)

// running is a jail of the kernel's, as jls(8) has it.
type running struct {
	jid  int
	name string // of a jail in a jail: PARENT.NAME
	path string // with no link in it
}

// askJls has jls list what is asked for and no more: of all parameters it would
// print some that have no value out of nothing (jls.c, quoted_print). One that
// dies, with no process left, is not listed.
var askJls = []string{jls, "--libxo", "json", "jid", "name", "path"}

// jlsVersion is that of the form of its answer (jls.c, JLS_XO_VERSION).
const jlsVersion = "2"

func parseJls(text string) ([]running, error) {
	var answer struct {
		Version string `json:"__version"`
		Info    *struct {
			Jails []struct {
				// A number where it is not told apart from its print.
				JID  json.RawMessage `json:"jid"`
				Name string          `json:"name"`
				Path string          `json:"path"`
			} `json:"jail"`
		} `json:"jail-information"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, fmt.Errorf("cannot read what jls says: %w", err)
	}
	if answer.Version != jlsVersion || answer.Info == nil {
		return nil, fmt.Errorf("cannot read what jls says: it is of version %q, not %s", answer.Version, jlsVersion)
	}
	var list []running
	for _, j := range answer.Info.Jails {
		jid, err := strconv.Atoi(strings.Trim(string(j.JID), `"`))
		if err != nil || jid <= 0 || j.Name == "" || !strings.HasPrefix(j.Path, "/") {
			return nil, fmt.Errorf("cannot read what jls says of a jail: jid %s, name %q, path %q", j.JID, j.Name, j.Path)
		}
		list = append(list, running{jid, j.Name, j.Path})
	}
	return list, nil
}

// running returns the jails that run, by name.
func (r *Runtime) running(ctx context.Context) (map[string]running, error) {
	text, err := r.ask(ctx, askJls...)
	if err != nil {
		return nil, be.E(be.KindOf(err), "cannot list the jails that run: %w", err)
	}
	list, err := parseJls(text)
	if err != nil {
		return nil, err
	}
	all := map[string]running{}
	for _, j := range list {
		all[j.name] = j
	}
	return all, nil
}

// askPs lists all processes with their jail's number, 0 for the host's. All after an
// equals sign is a header (ps/keyword.c, parsefmt): hence two options.
var askPs = []string{ps, "-ax", "-o", "jid=", "-o", "args="}

var psLine = regexp.MustCompile(`^ *([0-9]+) (.*)$`)

// processes returns what runs in jails, as the processes call themselves.
func (r *Runtime) processes(ctx context.Context, jids ...int) ([]string, error) {
	text, err := r.ask(ctx, askPs...)
	if err != nil {
		return nil, be.E(be.KindOf(err), "cannot list the processes of a jail: %w", err)
	}
	var list []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		m := psLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("cannot read the line %q of ps", line)
		}
		if slices.ContainsFunc(jids, func(jid int) bool { return m[1] == strconv.Itoa(jid) }) {
			list = append(list, m[2])
		}
	}
	return list, nil
}
