package lvm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// filled has fill write into the new volume.
func (s *Store) filled(ctx context.Context, volume string, readOnly bool, fill func(context.Context, be.Filling) error) error {
	t, err := s.scan(ctx)
	if err != nil {
		return err
	}
	v, pool := t.named(volume), t.named(s.pool)
	if v == nil || pool == nil {
		return fmt.Errorf("%s/%s was made and is not there", s.vg, volume)
	}
	_, sb, err := s.started(ctx, v)
	if err != nil {
		return err
	}
	// Not yet what it will be, but its name says where it will be.
	will := *v
	will.readOnly = readOnly
	dir, err := s.opened(ctx, v)
	if err != nil {
		return err
	}
	defer dir.Close()
	var failed error // which says itself what it could not do
	err = s.do("fill "+v.path(), func() error {
		bounded, stop := s.bounded(ctx, dir, pool)
		defer stop()
		failed = fill(bounded, be.Filling{Dir: fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), Ref: refOf(&will, sb)})
		if cause := context.Cause(bounded); cause != nil && ctx.Err() == nil {
			failed = cause
		}
		if errors.Is(failed, unix.ENOSPC) {
			failed = be.E(be.Undone, "%w; what is brought has to fit into a volume as large as that of the running one; enlarge that first (lvextend -r)", failed)
		}
		return nil
	})
	if err = cmp.Or(failed, err, ctx.Err()); err != nil {
		return err
	}
	var also func(string) string
	if readOnly {
		also = func(text string) string { return withRootOption(text, true) }
	}
	if err := s.nameRoot(dir, v.vg, v.name, also); err != nil {
		return err
	}
	return s.sync(dir, v.path())
}

// lookEvery is how long what is written may not be looked at: at a gigabyte a
// second far less than what maxData keeps free of a pool that is worth it.
const lookEvery = 20 * time.Millisecond

// bounded is a context that ends when so much is in the file system of dir that the
// pool would be full: not what is written into a full one alone would fail, but
// every boot environment.
func (s *Store) bounded(ctx context.Context, dir *os.File, pool *volume) (context.Context, func()) {
	bounded, cancel := context.WithCancelCause(ctx)
	room := int64(float64(pool.size)*maxData/100) - pool.mapped()
	var st unix.Statfs_t
	used := func() int64 {
		if unix.Fstatfs(int(dir.Fd()), &st) != nil {
			return 0
		}
		return int64(st.Blocks-st.Bfree) * st.Bsize
	}
	before := used()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-bounded.Done():
				return
			case <-tick.C:
				if used()-before > room {
					cancel(be.E(be.Undone, "the thin pool %s would be more than %d %% full; destroy boot environments or snapshots that are no longer needed, or enlarge it with lvextend -L +SIZE %s", pool.path(), maxData, pool.path()))
				}
			}
		}
	}()
	return bounded, func() {
		cancel(nil)
		<-ended
	}
}
