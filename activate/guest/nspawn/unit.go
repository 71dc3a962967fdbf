package nspawn

import (
	"errors"
	"path/filepath"
	"strings"
)

// unitDir is the administrator's, who owns what is there: systemd.unit(5).
const unitDir = "/etc/systemd/system"

const dropIn = "beadm-root.conf"

// A machine that systemd-nspawn finds by its name is read-only with all that is
// mounted in it, the shared data too, if its directory is (systemd 252,
// src/nspawn/nspawn.c: arg_read_only, bind_remount_recursive). One whose
// directory it is told is as its mounts are.

// namesRoot is the drop-in by which a machine's service names its directory, by
// what systemctl(1) cat says of the service. It is empty if the service names one
// already.
func namesRoot(cat, root string) (string, error) {
	start, err := execStart(cat)
	if err != nil {
		return "", err
	}
	for _, word := range strings.Fields(start) {
		for _, option := range []string{"--directory", "-D", "--image", "-i", "--template"} {
			if word == option || strings.HasPrefix(word, option+"=") {
				return "", nil
			}
		}
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(root)
	return "# By beadm: the root is read-only, and what is mounted in it is not to be.\n" +
		"[Service]\nExecStart=\nExecStart=" + start + ` "--directory=` + quoted + "\"\n", nil
}

// execStart is the command of a service that systemctl cat shows, as it is
// written (systemd.service(5), systemd.syntax(7)).
func execStart(cat string) (string, error) {
	var starts []string
	section, joined := "", ""
	for line := range strings.Lines(cat) {
		line = strings.TrimRight(line, "\n")
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
			continue // also between continued lines
		}
		if rest, continued := strings.CutSuffix(line, `\`); continued {
			joined += rest + " "
			continue
		}
		line, joined = strings.TrimSpace(joined+line), ""
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if section != "[Service]" || strings.TrimSpace(key) != "ExecStart" {
			continue
		}
		if value = strings.TrimSpace(value); value == "" {
			starts = nil
		} else {
			starts = append(starts, value)
		}
	}
	if len(starts) == 1 {
		if words := strings.Fields(starts[0]); filepath.Base(strings.TrimLeft(words[0], "@-:+!")) == "systemd-nspawn" {
			return starts[0], nil
		}
	}
	return "", errors.New("it does not start one systemd-nspawn")
}
