package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"beadm/be"
)

const backgroundTime = 15 * time.Second

// namelessTime is how long a holder that has not written who it is is waited for.
const namelessTime = 2 * time.Second

// Lock makes this process the one writer until unlock is called or the
// process ends, however it ends. If another is at work the error is of kind
// Locked and names its pid and command. What beadm's init does in the
// background of a boot takes moments: that is waited for.
func (d *Dir) Lock() (unlock func(), err error) {
	f, err := os.OpenFile(d.Path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if NoSpace(err) {
		return nil, be.E(be.Undone, "cannot lock the state: the file system is full; make room, nothing was changed (%w)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock the state: %w", err)
	}
	for start := time.Now(); tryLock(f) != nil; time.Sleep(100 * time.Millisecond) {
		holder := make([]byte, 256)
		n, _ := f.ReadAt(holder, 0)
		who := strings.TrimSpace(string(holder[:n]))
		if strings.Contains(who, " (init ") && time.Since(start) < backgroundTime {
			continue
		}
		// It has just taken it, or is about to give it back.
		if who == "" && time.Since(start) < namelessTime {
			continue
		}
		f.Close()
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
