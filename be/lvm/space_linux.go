package lvm

import (
	"context"
	"errors"
	"path/filepath"
	"time"
)

// heldTime is how long a look at a pool may take: every block that is in use is
// written down there.
const heldTime = 10 * time.Second

// held is how many bytes each volume of the pool holds alone, by its number in
// the pool: what would come back without it. It takes a look at the pool's
// metadata as they are at one moment, which the kernel keeps for one reader at
// a time; without thin_ls(8), while another reads, or if it takes too long,
// nothing is known of it.
func (s *Store) held(ctx context.Context, t *tree) map[int]int64 {
	if s.knownHeld != nil && s.known != nil {
		return s.knownHeld
	}
	limited, cancel := context.WithTimeout(ctx, heldTime)
	defer cancel()
	held, err := s.exclusive(limited, t)
	if err != nil {
		s.debugf("what volumes hold alone is not known: %v", err)
	}
	if s.known != nil {
		s.knownHeld = held
	}
	return held
}

func (s *Store) exclusive(ctx context.Context, t *tree) (held map[int]int64, err error) {
	pool := t.named(s.pool)
	if pool == nil {
		return nil, nil
	}
	// Its metadata can be read only while it is started.
	target := deviceName(s.vg, s.pool) + "-tpool"
	if !hasDevice(target) {
		return nil, nil
	}
	if err := message(target, "reserve_metadata_snap"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, message(target, "release_metadata_snap")) }()
	out, err := s.output(ctx, "thin_ls", "--no-headers", "--format", "DEV,EXCLUSIVE_BYTES", "-m", "/dev/mapper/"+deviceName(s.vg, s.pool)+"_tmeta")
	if err != nil {
		return nil, err
	}
	return parseHeld(out)
}

// hasDevice says whether device mapper has one of that name.
func hasDevice(name string) bool {
	list, _ := filepath.Glob("/sys/class/block/dm-*/dm/name")
	for _, file := range list {
		if readLine(file) == name {
			return true
		}
	}
	return false
}
