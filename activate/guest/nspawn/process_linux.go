package nspawn

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is one systemd-nspawn that runs a machine.
type process struct {
	pid    int
	leader int    // the machine's process 1; 0 while it has none
	unit   string // of the host's systemd, if one runs it
}

// processes finds those of the host by machine name. A machine could call a
// process of its own systemd-nspawn, and an ordinary user could, too: only
// root's in this process name space count.
func processes() (map[string]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	ours, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, err
	}
	found := map[string]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if name, p, ok := look(pid, ours); ok {
			found[name] = p
		}
	}
	return found, nil
}

func look(pid int, ours string) (name string, p process, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil || strings.TrimSpace(string(comm)) != "systemd-nspawn" {
		return "", p, false
	}
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil || st.Uid != 0 {
		return "", p, false
	}
	if ns, err := os.Readlink(filepath.Join(dir, "ns/pid")); err != nil || ns != ours {
		return "", p, false
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return "", p, false
	}
	// Its own children carry its command line until they become the machine.
	name = machineOf(strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"))
	if name == "" || parentIsNspawn(dir) {
		return "", p, false
	}
	p = process{pid: pid, leader: leaderOf(pid, ours), unit: unitOf(dir)}
	return name, p, true
}

// machineOf reads the name of the machine from the arguments of systemd-nspawn,
// as systemd-nspawn(1) gives it one.
func machineOf(argv []string) string {
	name, dir := "", ""
	for i := 1; i < len(argv); i++ {
		next := func() string {
			if i+1 < len(argv) {
				return argv[i+1]
			}
			return ""
		}
		switch a := argv[i]; {
		case a == "--":
			i = len(argv)
		case a == "-M" || a == "--machine":
			name = next()
		case a == "-D" || a == "--directory":
			dir = next()
		case strings.HasPrefix(a, "--machine="):
			name = strings.TrimPrefix(a, "--machine=")
		case strings.HasPrefix(a, "--directory="):
			dir = strings.TrimPrefix(a, "--directory=")
		case strings.HasPrefix(a, "-M"):
			name = a[2:]
		case strings.HasPrefix(a, "-D"):
			dir = a[2:]
		}
	}
	if name == "" && dir != "" {
		name = filepath.Base(dir)
	}
	return name
}

func parentIsNspawn(dir string) bool {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return true // it has ended
	}
	// proc(5): after the name in parentheses come the state and the parent.
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 2 {
		return true
	}
	comm, err := os.ReadFile(filepath.Join("/proc", fields[1], "comm"))
	return err == nil && strings.TrimSpace(string(comm)) == "systemd-nspawn"
}

// leaderOf is the first process below pid that is in another process name space.
func leaderOf(pid int, ours string) int {
	queue := children(pid)
	for len(queue) > 0 {
		child := queue[0]
		queue = queue[1:]
		ns, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(child), "ns/pid"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err == nil && ns != ours:
			return child
		default:
			queue = append(queue, children(child)...)
		}
	}
	return 0
}

func children(pid int) (list []int) {
	tasks, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/children"))
	for _, task := range tasks {
		data, _ := os.ReadFile(task)
		for _, word := range bytes.Fields(data) {
			if child, err := strconv.Atoi(string(word)); err == nil {
				list = append(list, child)
			}
		}
	}
	return list
}

// unitOf is the service of the host's systemd that the process at dir in /proc
// belongs to.
func unitOf(dir string) string {
	data, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
	for _, line := range strings.Split(string(data), "\n") {
		_, path, ok := strings.Cut(line, "::")
		if !ok {
			_, path, ok = strings.Cut(line, ":name=systemd:")
		}
		if !ok {
			continue
		}
		for _, part := range strings.Split(path, "/") {
			if strings.HasSuffix(part, ".service") {
				return part
			}
		}
	}
	return ""
}

// uidShift is where the machine's user namespace begins, from what runs, else
// from who owns its root; 0 if it has none, or nobody can know.
func uidShift(leader int, root string) (shift uint32, owns bool) {
	var st unix.Stat_t
	if unix.Stat(root, &st) != nil {
		return 0, false
	}
	if leader != 0 {
		data, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(leader), "uid_map"))
		if f := strings.Fields(string(data)); len(f) >= 3 && f[0] == "0" {
			if n, err := strconv.ParseUint(f[1], 10, 32); err == nil {
				return uint32(n), st.Uid == uint32(n)
			}
		}
	}
	return st.Uid, true
}
