package activate

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
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
	if err := unix.Flock(int(h.users.Fd()), unix.LOCK_SH); err != nil {
		h.release()
		return nil, fmt.Errorf("cannot lock our mounts: %w", err)
	}
	return h, nil
}

// begin waits for its turn to mount or unmount; end ends it.
func (h *hold) begin() { unix.Flock(int(h.change.Fd()), unix.LOCK_EX) }
func (h *hold) end()   { unix.Flock(int(h.change.Fd()), unix.LOCK_UN) }

// last says whether nobody else uses the mounts, between begin and end.
func (h *hold) last() bool { return unix.Flock(int(h.users.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

func (h *hold) release() {
	for _, f := range []*os.File{h.change, h.users} {
		if f != nil {
			f.Close()
		}
	}
}
