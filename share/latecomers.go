package share

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	copier "beadm/be/copy"
)

// latecomers brings over what was written into the old trees after the last
// pass, by programs that had opened something there before the exchange.
func (m *move) latecomers(ctx context.Context) error {
	var old []string
	for _, t := range m.trees {
		if at := oldAt(t.path); exists(m.r, at) {
			old = append(old, at)
		}
	}
	for end := time.Now().Add(3 * time.Second); len(old) > 0; time.Sleep(50 * time.Millisecond) {
		holders, err := findHolders(ctx, m.r, old, m.o.Units)
		if err != nil || len(holders) == 0 {
			break
		}
		if time.Now().After(end) {
			m.note("what these go on writing into the old trees is not in the new ones: %s", holdersText(holders))
			break
		}
	}
	for _, t := range m.trees {
		live, err := copier.OpenDir(m.r, MountPoint+"/"+t.name)
		if err != nil {
			continue // it was not moved
		}
		err = t.copy.Late(ctx, func(path string, was int64) error { return m.late(t, live, path, was) })
		live.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *move) late(t *tree, live *os.File, path string, was int64) error {
	parts := strings.Split(path, "/")
	name := parts[len(parts)-1]
	src, dst := t.src, live
	for _, p := range parts[:len(parts)-1] {
		next, err := openSub(src, p)
		if err != nil {
			return err
		}
		defer next.Close()
		into, err := openSub(dst, p)
		if errors.Is(err, fs.ErrNotExist) {
			if err = copier.Dir(next, dst, p); err == nil || errors.Is(err, fs.ErrExist) {
				into, err = openSub(dst, p)
			}
		}
		if err != nil {
			return err
		}
		defer into.Close()
		src, dst = next, into
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(src.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	id := fileID{uint64(st.Dev), st.Ino}
	if m.tails[id] {
		return nil // under another of its names
	}
	if was >= 0 {
		appended, err := appendTail(src, dst, name, was)
		if err != nil {
			return err
		}
		if appended {
			if m.tails == nil {
				m.tails = map[fileID]bool{}
			}
			m.tails[id] = true
			return nil
		}
		if nothing, err := adds(context.Background(), src, dst, name); err == nil && nothing {
			return nil
		}
	} else {
		err := copier.Node(src, name, dst, name, copier.Options{Link: func(_, target string) string { return t.link(path, target) }})
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if nothing, err := adds(context.Background(), src, dst, name); err == nil && nothing {
			return nil
		}
	}
	m.res.Late = append(m.res.Late, t.path+"/"+path+".beadm-late")
	err := copier.Node(src, name, dst, name+".beadm-late", copier.Options{})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// appendTail adds what the file in src has grown by to the one in dst, which
// is at least as long as it was: somebody may have appended there, too.
func appendTail(src, dst *os.File, name string, was int64) (bool, error) {
	in, err := openRegular(src, name)
	if err != nil {
		return false, nil
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() <= was {
		return false, err
	}
	fd, err := unix.Openat(int(dst.Fd()), name, unix.O_WRONLY|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, nil
	}
	out := os.NewFile(uintptr(fd), name)
	defer out.Close()
	to, err := out.Stat()
	if err != nil || !to.Mode().IsRegular() || to.Size() < was {
		return false, err
	}
	tail := make([]byte, st.Size()-was)
	if len(tail) > 64<<20 {
		return false, nil // no last line of anybody: set aside
	}
	if _, err := in.ReadAt(tail, was); err != nil {
		return false, err
	}
	_, err = out.Write(tail)
	return err == nil, err
}
