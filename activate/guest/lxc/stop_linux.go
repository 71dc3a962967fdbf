package lxc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate/guest"
	"beadm/be"
)

const (
	stopTime  = 90 * time.Second // what systemd gives a service
	againTime = 3 * time.Second
	killTime  = 20 * time.Second
)

// Stop has the container shut down.
func (r *Runtime) Stop(ctx context.Context, g guest.Guest) error {
	c, err := r.container(ctx, g)
	if err != nil || !c.running {
		return err
	}
	// LXC's own process, above the container's first, holds the root open, and
	// ends after it.
	var pids []int
	if c.leader != 0 {
		pids = append(pids, c.leader)
		if parent := monitorOf(c.leader); parent > 1 {
			pids = append(pids, parent)
		}
	}
	var handles []int
	for _, pid := range pids {
		handle, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot stop %s: %w", g.Name, err)
		}
		defer unix.Close(handle)
		handles = append(handles, handle)
	}
	stopping, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	for stopping.Err() == nil {
		// Again and again: an init that has only begun does not hear the first.
		_, err = r.ask(stopping, "lxc-stop", "-P", c.path, "--name="+g.Name, "-W")
		again, cancel := context.WithTimeout(stopping, againTime)
		ended := r.ended(again, g, handles)
		cancel()
		if ended {
			return nil
		}
		if err != nil && stopping.Err() == nil {
			break
		}
	}
	killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTime)
	defer cancel()
	_, kerr := r.ask(killing, "lxc-stop", "-P", c.path, "--name="+g.Name, "-k")
	if r.ended(killing, g, handles) {
		return nil
	}
	return fmt.Errorf("cannot stop %s: it does not end: %w", g.Name, errors.Join(err, kerr, killing.Err()))
}

// ended waits until the processes of the handles have ended and LXC says so too.
func (r *Runtime) ended(ctx context.Context, g guest.Guest, handles []int) bool {
	for _, handle := range handles {
		for {
			ready := []unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}
			if n, err := unix.Poll(ready, 50); n > 0 && err == nil {
				break
			}
			if ctx.Err() != nil {
				return false
			}
		}
	}
	for {
		c, err := r.container(ctx, g)
		if err == nil && !c.running || be.KindOf(err) == be.NotFound {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// monitorOf is the process above a container's process 1, if that is in the
// name space of this process; else 0.
func monitorOf(leader int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", leader))
	if err != nil {
		return 0
	}
	// proc(5): after the name in parentheses, which may hold any, come the
	// state and the parent.
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}
