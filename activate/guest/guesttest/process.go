//go:build linux

package guesttest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"beadm/activate/guest"
)

// seen is a file as the guest sees it.
func seen(g guest.Guest, path string) string {
	return filepath.Join("/proc", strconv.Itoa(g.Leader), "root", path)
}

// inside are the processes of a guest.
type inside struct {
	space *os.File // open, so that its number is not used again
	name  string
	pids  []int
}

func processesOf(t *testing.T, leader int) inside {
	t.Helper()
	link := fmt.Sprintf("/proc/%d/ns/pid", leader)
	space, err := os.Open(link)
	check(t, err)
	t.Cleanup(func() { space.Close() })
	name, err := os.Readlink(link)
	check(t, err)
	if ours, err := os.Readlink("/proc/self/ns/pid"); err != nil || ours == name {
		t.Fatalf("its process 1, %d, is a process of the host (%v)", leader, err)
	}
	in := inside{space: space, name: name}
	in.pids = in.left()
	return in
}

func (in inside) left() (pids []int) {
	for _, pid := range all() {
		if name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err == nil && name == in.name {
			pids = append(pids, pid)
		}
	}
	return pids
}

func all() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// running are the processes with that argument.
func running(t *testing.T, argument string) (pids []int) {
	t.Helper()
	for _, pid := range all() {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if slices.Contains(strings.Split(string(line), "\x00"), argument) {
			pids = append(pids, pid)
		}
	}
	return pids
}
