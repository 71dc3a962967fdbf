package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"beadm/be"
)

// Lock makes this process the one writer until unlock is called or the
// process ends, however it ends. If another is at work the error is of kind
// Locked and names its pid and command.
func (d *Dir) Lock() (unlock func(), err error) {
	f, err := os.OpenFile(d.Path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the state: %w", err)
	}
	if err := tryLock(f); err != nil {
		holder := make([]byte, 256)
		n, _ := f.ReadAt(holder, 0)
		f.Close()
		who := strings.TrimSpace(string(holder[:n]))
		if who == "" {
			who = "another beadm"
		}
		return nil, be.E(be.Locked, "%s is at work on this store: wait until it ends and try again", who)
	}
	who := fmt.Sprintf("pid %d (%s %s)\n", os.Getpid(), filepath.Base(os.Args[0]), strings.Join(os.Args[1:], " "))
	if len(who) > 250 {
		who = who[:250]
	}
	f.Truncate(0)
	f.WriteAt([]byte(who), 0)
	d.sweepTemp()
	return func() { f.Truncate(0); f.Close() }, nil
}
