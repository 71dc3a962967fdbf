package copier

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

const maxDepth = rooted.MaxDepth

// guarded keeps what flags the copy of the name at is to get at the end.
func (c *Copier) guarded(at []string, flags uint32) {
	name := join(at)
	if flags&flagsOfGuard == 0 {
		delete(c.guards, name)
		return
	}
	if c.guards == nil {
		c.guards = map[string]uint32{}
	}
	c.guards[name] = flags & flagsOfGuard
}

// Guard makes immutable and append-only in the copy what is so in the source.
// No pass can follow: it could not change these any more.
func (c *Copier) Guard() error {
	for name, flags := range c.guards {
		at := strings.Split(name, "/")
		if name == "" {
			continue // the top is somebody's to rename
		}
		dir, err := openBelow(int(c.dst.Fd()), at[:len(at)-1])
		if err == nil {
			err = guard(dir, at[len(at)-1], flags)
			unix.Close(dir)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return c.fail("set the attributes of the copy of", at, err)
		}
	}
	return nil
}
