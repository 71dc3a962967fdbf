package activate

import (
	"fmt"
	"os"
)

// hold lets several processes use our mounts at once: they are mounted and
// unmounted under one lock, and unmounted by the last who uses them. The
// kernel releases both locks with the process.
type hold struct {
	change *os.File // exclusive while something is mounted or unmounted
	users  *os.File // shared while the mounts are used
}

func newHold(dir string) (*hold, error) {
	h := &hold{}
	var err error
	for name, f := range map[string]**os.File{"change": &h.change, "users": &h.users} {
		if *f, err = os.OpenFile(dir+"/"+name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			h.release()
			return nil, fmt.Errorf("cannot lock our mounts: %w", err)
		}
	}
	if err := lockFile(h.users, shared); err != nil {
		h.release()
		return nil, fmt.Errorf("cannot lock our mounts: %w", err)
	}
	return h, nil
}

// begin waits for its turn to mount or unmount; end ends it.
func (h *hold) begin() { lockFile(h.change, exclusive) }
func (h *hold) end()   { lockFile(h.change, unlocked) }

// last says whether nobody else uses the mounts, between begin and end.
func (h *hold) last() bool { return lockFile(h.users, exclusiveNow) == nil }

func (h *hold) release() {
	for _, f := range []*os.File{h.change, h.users} {
		if f != nil {
			f.Close()
		}
	}
}

// lockKind is what lockFile makes of the lock on a file. All but exclusiveNow
// wait.
type lockKind int

const (
	unlocked lockKind = iota
	shared
	exclusive
	exclusiveNow
)
