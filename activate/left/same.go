package left

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

// mostRead is how long a file may be whose content is compared if its time
// says that it was written: the images of machines that run are not read.
const mostRead = 64 << 20

// same says that the other root has what p is, of type, owner, mode,
// attributes and content. When it was written is no difference.
func (w *walk) same(p string, info rooted.Info) (bool, error) {
	there, err := w.new.Lstat(p)
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if there.Mode.Type() != info.Mode.Type() || there.UID != info.UID || there.GID != info.GID {
		return false, nil
	}
	if info.IsLink() {
		ours, err := w.old.Readlink(p)
		if err != nil {
			return gone(err), ignoreGone(err)
		}
		theirs, err := w.new.Readlink(p)
		return ours == theirs, err
	}
	if there.Mode != info.Mode || there.Size != info.Size {
		return false, nil
	}
	// A clone keeps both, and no write keeps the second.
	if there.Ino == info.Ino && there.Ctime.Equal(info.Ctime) {
		return true, nil
	}
	if same, err := w.sameAttributes(p); !same || err != nil {
		return false, err
	}
	// Written, and of the same length and time to the nanosecond: copied from
	// each other, or only linked or renamed, as rsync(1) takes it too.
	if there.Mtime.Equal(info.Mtime) {
		return true, nil
	}
	if info.Size > mostRead {
		return false, nil
	}
	return w.sameContent(p)
}

// labels are set by each system for itself.
var labels = []string{"security.selinux", "security.ima", "security.evm"}

func (w *walk) sameAttributes(p string) (bool, error) {
	ours, err := w.old.Xattrs(p)
	if err != nil {
		return false, ignoreGone(err)
	}
	theirs, err := w.new.Xattrs(p)
	if err != nil {
		return false, err
	}
	for _, name := range labels {
		delete(ours, name)
		delete(theirs, name)
	}
	return maps.EqualFunc(ours, theirs, slices.Equal), nil
}

func (w *walk) sameContent(p string) (bool, error) {
	ours, err := w.old.OpenNoFollow(p)
	if err != nil {
		return gone(err), ignoreGone(err)
	}
	defer ours.Close()
	theirs, err := w.new.OpenNoFollow(p)
	if err != nil {
		return false, err
	}
	defer theirs.Close()
	if w.buffers[0] == nil {
		w.buffers[0], w.buffers[1] = make([]byte, 64<<10), make([]byte, 64<<10)
	}
	a, b := w.buffers[0], w.buffers[1]
	for {
		if err := w.ctx.Err(); err != nil {
			return false, err
		}
		n, err := io.ReadFull(ours, a)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return false, err
		}
		m, merr := io.ReadFull(theirs, b)
		if merr != nil && merr != io.EOF && merr != io.ErrUnexpectedEOF {
			return false, merr
		}
		if !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		if n < len(a) {
			return true, nil
		}
	}
}

// gone says that there is nothing of that name. A link that goes round leads
// nowhere either, and what is mounted from elsewhere is not the boot
// environment's.
func gone(err error) bool {
	return errors.Is(err, rooted.ErrAvoided) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// ignoreGone passes over what went while it was looked at.
func ignoreGone(err error) error {
	if gone(err) || errors.Is(err, rooted.ErrNotRegular) {
		return nil
	}
	return err
}
