package trees

import (
	"bytes"
	"context"
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

// Difference is how two files of one name differ.
type Difference int

// The differences. When a file was written is none, nor are the labels that each
// system sets for itself.
const (
	Same       Difference = iota
	Attributes            // mode, owner, extended attributes, ACL
	Content               // also where a link leads, or what a device is
	Kind                  // a file here, a directory there
	Absent                // in the second
)

// Pair is two roots. It is used by one goroutine at a time.
type Pair struct {
	A, B    *rooted.Root
	buffers [2][]byte
}

// Compare says how what path is in B differs from what it is in A, where info
// describes it. What went while it was looked at is the same: there is nothing to
// tell.
func (p *Pair) Compare(ctx context.Context, path string, info rooted.Info) (Difference, error) {
	there, err := p.B.Lstat(path)
	if Gone(err) {
		return Absent, nil
	}
	if err != nil {
		return Same, err
	}
	if there.Mode.Type() != info.Mode.Type() {
		return Kind, nil
	}
	switch {
	case info.IsLink():
		ours, err := p.A.Readlink(path)
		if err != nil {
			return Same, IgnoreGone(err)
		}
		theirs, err := p.B.Readlink(path)
		if err != nil || ours != theirs {
			return Content, IgnoreGone(err)
		}
	case info.IsRegular():
		// A clone keeps both, and no write keeps the second.
		if there.Ino == info.Ino && there.Ctime.Equal(info.Ctime) && there.Size == info.Size {
			return Same, nil
		}
		same, err := p.sameBytes(ctx, path, info, there)
		if err != nil {
			return Same, err
		}
		if !same {
			return Content, nil
		}
	case !info.IsDir() && there.Rdev != info.Rdev:
		return Content, nil
	}
	if there.Mode != info.Mode || there.UID != info.UID || there.GID != info.GID {
		return Attributes, nil
	}
	if info.IsLink() {
		return Same, nil
	}
	same, err := p.sameAttributes(path)
	if err != nil || same {
		return Same, err
	}
	return Attributes, nil
}

func (p *Pair) sameBytes(ctx context.Context, path string, info, there rooted.Info) (bool, error) {
	if there.Size != info.Size {
		return false, nil
	}
	// Of the same length and time to the nanosecond: copied from each other, or
	// only linked or renamed, as rsync(1) takes it too.
	if there.Mtime.Equal(info.Mtime) {
		return true, nil
	}
	if info.Size > mostRead {
		return false, nil
	}
	return p.sameContent(ctx, path)
}

// labels are set by each system for itself.
var labels = []string{"security.selinux", "security.ima", "security.evm"}

func (p *Pair) sameAttributes(path string) (bool, error) {
	ours, err := p.A.Xattrs(path)
	if err != nil {
		return Gone(err), IgnoreGone(err)
	}
	theirs, err := p.B.Xattrs(path)
	if err != nil {
		return false, err
	}
	for _, name := range labels {
		delete(ours, name)
		delete(theirs, name)
	}
	return maps.EqualFunc(ours, theirs, slices.Equal), nil
}

func (p *Pair) sameContent(ctx context.Context, path string) (bool, error) {
	ours, err := p.A.OpenNoFollow(path)
	if err != nil {
		return Gone(err), IgnoreGone(err)
	}
	defer ours.Close()
	theirs, err := p.B.OpenNoFollow(path)
	if err != nil {
		return false, err
	}
	defer theirs.Close()
	if p.buffers[0] == nil {
		p.buffers[0], p.buffers[1] = make([]byte, 64<<10), make([]byte, 64<<10)
	}
	a, b := p.buffers[0], p.buffers[1]
	for {
		if err := ctx.Err(); err != nil {
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

// Gone says that there is nothing of that name. A link that goes round leads
// nowhere either, and what is mounted from elsewhere is not the boot
// environment's.
func Gone(err error) bool {
	return errors.Is(err, rooted.ErrAvoided) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// IgnoreGone passes over what went while it was looked at.
func IgnoreGone(err error) error {
	if Gone(err) || errors.Is(err, rooted.ErrNotRegular) {
		return nil
	}
	return err
}
