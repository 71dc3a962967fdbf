package lxc

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// read takes what lxc-info printed. A line it does not know is an error: a
// guest that runs must not pass for one that does not.
func (c *container) read(said string) error {
	state := ""
	for _, line := range strings.Split(strings.TrimRight(said, "\n"), "\n") {
		if v, ok := strings.CutPrefix(line, "State:"); ok {
			state = strings.TrimSpace(v)
		} else if v, ok := strings.CutPrefix(line, "PID:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil || pid <= 1 {
				return fmt.Errorf("lxc-info says %q", line)
			}
			c.leader = pid
		} else if v, ok := strings.CutPrefix(line, "lxc.rootfs.path ="); ok {
			c.root = strings.TrimSpace(v)
		} else if v, ok := strings.CutPrefix(line, "lxc.console.logfile ="); ok {
			c.console = strings.TrimSpace(v)
		} else if line != "" {
			return fmt.Errorf("lxc-info says %q", line)
		}
	}
	switch state {
	case "STOPPED":
		c.running = false
		c.leader = 0
	case "STARTING", "RUNNING", "STOPPING", "ABORTING", "FREEZING", "FROZEN", "THAWED":
		c.running = true
	default:
		return fmt.Errorf("lxc-info says that its state is %q", state)
	}
	return nil
}

// logged is a line of an LXC log: program, container, time, level, part of LXC,
// place in it, words.
var logged = regexp.MustCompile(`^\S+ \S+ \d{14}\.\d{3} (\w+) +\S+ - \S+ - (.*)$`)

// cause is the first error of an LXC log: those after it only say who else
// gave up.
func cause(log []byte) string {
	for _, line := range strings.Split(string(log), "\n") {
		if m := logged.FindStringSubmatch(line); m != nil && (m[1] == "ERROR" || m[1] == "FATAL") {
			return strings.ToValidUTF8(m[2], "?")
		}
	}
	return ""
}

func lastLine(said []byte) string {
	lines := bytes.Split(bytes.TrimSpace(said), []byte("\n"))
	return strings.ToValidUTF8(string(bytes.TrimSpace(lines[len(lines)-1])), "?")
}
