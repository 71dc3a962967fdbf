package activate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"beadm/be"
)

// hold lets several processes use our mounts at once: they are mounted and
// unmounted under one lock, and unmounted by the last who uses them. The
// kernel releases both locks with the process.
type hold struct {
	change *os.File // exclusive while something is mounted or unmounted
	users  *os.File // shared while the mounts are used
}

// holdTime is how long another may take to mount or unmount, and holdStep
// between two looks.
const (
	holdTime = 30 * time.Second
	holdStep = 100 * time.Millisecond
)

// newHold waits for others as begin does.
func newHold(ctx context.Context, dir string) (*hold, error) {
	h := &hold{}
	var err error
	for name, f := range map[string]**os.File{"change": &h.change, "users": &h.users} {
		if *f, err = os.OpenFile(dir+"/"+name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			h.release()
			return nil, fmt.Errorf("cannot lock our mounts: %w", err)
		}
	}
	if err := h.wait(ctx, h.users, sharedNow, holdTime); err != nil {
		h.release()
		return nil, err
	}
	return h, nil
}

// begin waits for its turn to mount or unmount; end ends it. Who waits in vain
// is told, as an error of kind Locked, for whom: one that hangs must not hold
// every other command for ever.
func (h *hold) begin(ctx context.Context) error { return h.beginWithin(ctx, holdTime) }

func (h *hold) beginWithin(ctx context.Context, limit time.Duration) error {
	if err := h.wait(ctx, h.change, exclusiveNow, limit); err != nil {
		return err
	}
	who := fmt.Sprintf("pid %d (%s %s)\n", os.Getpid(), filepath.Base(os.Args[0]), strings.Join(os.Args[1:], " "))
	if len(who) > 250 {
		who = who[:249] + "\n"
	}
	h.change.WriteAt([]byte(who), 0) // its first line counts while it is locked
	return nil
}

func (h *hold) end() { lockFile(h.change, unlocked) }

func (h *hold) wait(ctx context.Context, f *os.File, kind lockKind, limit time.Duration) error {
	for start := time.Now(); ; {
		err := lockFile(f, kind)
		if err == nil {
			return nil
		}
		if !lockedByAnother(err) {
			return fmt.Errorf("cannot lock our mounts: %w", err)
		}
		if time.Since(start) >= limit {
			holder := make([]byte, 256)
			n, _ := h.change.ReadAt(holder, 0)
			who, _, _ := strings.Cut(string(holder[:n]), "\n")
			if who == "" {
				who = "another beadm"
			}
			return be.E(be.Locked, "%s has been mounting or unmounting for %s: see what it waits for, end it, and try again", who, limit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(holdStep):
		}
	}
}

// last says whether nobody else uses the mounts, between begin and end.
func (h *hold) last() bool { return lockFile(h.users, exclusiveNow) == nil }

func (h *hold) release() {
	for _, f := range []*os.File{h.change, h.users} {
		if f != nil {
			f.Close()
		}
	}
}

// lockKind is what lockFile makes of the lock on a file, at once or not at all.
type lockKind int

const (
	unlocked lockKind = iota
	sharedNow
	exclusiveNow
)
