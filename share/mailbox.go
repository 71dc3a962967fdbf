package share

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	copier "beadm/be/copy"
	"beadm/be/rooted"
	"beadm/share/mbox"
)

// A mailbox of one file keeps its inode: whoever delivers may have opened it
// and wait for its lock. So it is written over, from a copy of what it shall be
// that is complete and durable before, and a record beside that says so: what
// is cut is finished by FinishRestore.
const (
	restoringDir    = ".beadm-restoring"
	restoringRecord = restoringDir + "/record"
	restoringText   = restoringDir + "/mailbox"
)

// writing is the record of a mailbox that is locked or written over.
type writing struct {
	Path string `json:"path"`
	PID  int    `json:"pid"` // that stands in the dot lock
	Old  int64  `json:"old,omitempty"`
	Size int64  `json:"size,omitempty"` // 0: nothing is written yet
}

// mailbox gives name of dst the messages that it lacks.
func (r *restoring) mailbox(src, dst *os.File, name string, at []string) error {
	full := strings.Join(at, "/")
	old, err := openRegular(src, name)
	if err != nil {
		return err
	}
	defer old.Close()
	before, ok, err := mbox.Scan(old)
	if err != nil {
		return err
	}
	if !ok {
		return r.replace(src, dst, name, at)
	}
	if r.o.DryRun {
		now, err := openRegular(dst, name)
		if err != nil {
			return err
		}
		defer now.Close()
		_, _, err = r.union(before, now, full)
		return err
	}
	if err := r.live.MkdirAll(restoringDir, 0o700); err != nil {
		return err
	}
	rec := writing{Path: full, PID: os.Getpid()}
	if err := rec.save(r.live); err != nil {
		return err
	}
	box, err := lockMailbox(r, dst, name)
	if errors.Is(err, errLocked) {
		r.res.Locked = append(r.res.Locked, full)
		return forgetWriting(r.live)
	}
	if err != nil {
		return errors.Join(err, forgetWriting(r.live))
	}
	err = r.rewrite(&rec, before, old, box)
	return errors.Join(err, leave(r.live, rec, box))
}

// leave gives up the locks. What is half written stays in the record, with the
// words of the error.
func leave(live *rooted.Root, rec writing, box *locked) error {
	if rec.Size > 0 {
		return box.unlock()
	}
	return errors.Join(box.unlock(), forgetWriting(live))
}

// union is what the mailbox shall be, and its size; nothing if it lacks nothing.
func (r *restoring) union(before []mbox.Message, now *os.File, full string) (parts []mbox.Part, size int64, err error) {
	after, ok, err := mbox.Scan(io.NewSectionReader(now, 0, 1<<62))
	if err != nil {
		return nil, 0, err
	}
	if !ok {
		return nil, 0, be.E(be.InUse, "%s became another kind of file while it was looked at: do it again", rooted.Printable(full))
	}
	parts, lacks := mbox.Union(before, after)
	if lacks == 0 {
		r.res.Same++
		return nil, 0, nil
	}
	for _, p := range parts {
		size += p.Size
	}
	r.res.Mailboxes = append(r.res.Mailboxes, full)
	r.res.Messages += lacks
	return parts, size, nil
}

func (r *restoring) rewrite(rec *writing, before []mbox.Message, old *os.File, box *locked) error {
	parts, size, err := r.union(before, box.f, rec.Path)
	if err != nil || parts == nil {
		return err
	}
	info, err := box.f.Stat()
	if err != nil {
		return err
	}
	dir, err := copier.OpenDir(r.live, restoringDir)
	if err != nil {
		return err
	}
	free, err := freeBytes(dir)
	dir.Close()
	if err != nil {
		return err
	}
	// Once for the copy, once for the mailbox: a snapshot keeps what it was.
	if need := 2*size + 64<<20; free < need {
		return be.E(be.Other, "%s needs %d MiB free and there are %d", rooted.Printable(rec.Path), need>>20, free>>20)
	}
	effect("write what " + rec.Path + " shall be")
	text, err := r.live.Stage(restoringText, mbox.Reader(old, box.f, parts), rooted.Attr{Mode: 0o600})
	if err == nil {
		err = errors.Join(text.Sync(), text.Commit())
	}
	if err != nil {
		return err
	}
	written, err := r.live.Lstat(restoringText)
	if err != nil {
		return err
	}
	rec.Old, rec.Size = info.Size(), written.Size // with the empty lines that were missing
	if err := rec.save(r.live); err != nil {
		return err
	}
	return writeOver(r.live, box.f, rec)
}

// writeOver is what the record is for; it may be done again from any point. At
// its end the record is of a mailbox that is only locked.
func writeOver(live *rooted.Root, f *os.File, rec *writing) error {
	text, err := live.OpenNoFollow(restoringText)
	if err != nil {
		return err
	}
	defer text.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < rec.Size {
		effect("extend " + rec.Path)
		// Durably, so that what is delivered behind a cut stands behind this.
		if err := errors.Join(f.Truncate(rec.Size), f.Sync()); err != nil {
			return be.E(be.Recovery, "cannot write %s: %w; what it shall be stands in %s/%s", rec.Path, err, live.Dir(), restoringText)
		}
	}
	effect("write " + rec.Path)
	if _, err := io.Copy(io.NewOffsetWriter(f, 0), text); err != nil {
		return be.E(be.Recovery, "cannot write %s: %w; what it shall be stands in %s/%s", rec.Path, err, live.Dir(), restoringText)
	}
	effect("sync " + rec.Path)
	if err := f.Sync(); err != nil {
		return err
	}
	rec.Old, rec.Size = 0, 0
	return rec.save(live)
}

// FinishRestore finishes the mailbox that a Restore was writing when it was
// cut, or takes its lock away. It runs before anybody delivers, or locks the
// mailbox. It returns the path of the mailbox; empty if there was nothing to do.
func FinishRestore(liveDir string) (string, error) {
	live, err := openShare(liveDir)
	if err != nil {
		return "", err
	}
	defer live.Close()
	if _, err := live.Lstat(restoringDir); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	data, err := live.ReadFileLimit(restoringRecord, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return "", forgetWriting(live)
	}
	if err != nil {
		return "", err
	}
	var rec writing
	if err := json.Unmarshal(data, &rec); err != nil {
		return "", be.E(be.Recovery, "cannot read the record of a mailbox that is restored: %w", err)
	}
	return rec.Path, rec.finish(live)
}

// finish ends what the record is of.
func (rec writing) finish(live *rooted.Root) error {
	parts := strings.Split(rec.Path, "/")
	name := parts[len(parts)-1]
	dir, err := openIn(live, parts[:len(parts)-1])
	if errors.Is(err, fs.ErrNotExist) {
		return forgetWriting(live)
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dropDotLock(dir, name, rec.PID); err != nil {
		return err
	}
	if rec.Size == 0 {
		return forgetWriting(live)
	}
	r := &restoring{live: live}
	box, err := lockMailbox(r, dir, name)
	if err != nil {
		return be.E(be.Recovery, "cannot finish %s, which was restored: %w", rooted.Printable(rec.Path), err)
	}
	begun, err := extended(live, box.f, rec)
	if err == nil && begun {
		err = writeOver(live, box.f, &rec)
	} else if err == nil {
		rec.Size = 0 // not a byte was written
	}
	return errors.Join(err, leave(live, rec, box))
}

// extended says whether a mailbox was made as long as it shall be: then what
// stands behind its old end is zeros, or what shall stand there. Otherwise it
// is mail that was delivered since, and nothing was written.
func extended(live *rooted.Root, f *os.File, rec writing) (bool, error) {
	text, err := live.OpenNoFollow(restoringText)
	if err != nil {
		return false, err
	}
	defer text.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < rec.Size {
		return false, err
	}
	is := io.NewSectionReader(f, rec.Old, rec.Size-rec.Old)
	shall := io.NewSectionReader(text, rec.Old, rec.Size-rec.Old)
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(is, a)
		if _, serr := io.ReadFull(shall, b[:n]); serr != nil && n > 0 {
			return false, serr
		}
		for i := range n {
			if a[i] != 0 && a[i] != b[i] {
				return false, nil
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func (w *writing) save(live *rooted.Root) error {
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	effect("record " + w.Path)
	if err := live.WriteFileAtomic(restoringRecord, data, rooted.Attr{Mode: 0o600}); err != nil {
		return err
	}
	return live.SyncDir(restoringDir)
}

func forgetWriting(live *rooted.Root) error {
	effect("forget the record")
	if err := live.SweepTemp(restoringDir); err != nil {
		return err
	}
	for _, file := range []string{restoringRecord, restoringText} {
		if err := live.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := live.SyncDir(restoringDir); err != nil {
			return err
		}
	}
	return live.Remove(restoringDir)
}

var errLocked = errors.New("it is locked")

// locked is a mailbox under both of its locks (Debian Policy 11.6; fcntl(2),
// and NAME.lock as lockfile_create(3) makes it).
type locked struct {
	f    *os.File
	dir  *os.File
	name string
}

func lockMailbox(r *restoring, dir *os.File, name string) (*locked, error) {
	patience := r.o.Patience
	if patience == 0 {
		patience = time.Minute
	}
	deadline := time.Now().Add(patience)
	var err error
	for {
		var box *locked
		if box, err = tryLock(dir, name); !errors.Is(err, errLocked) {
			return box, err
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		wait := time.NewTimer(200 * time.Millisecond)
		if r.ctx == nil {
			<-wait.C
			continue
		}
		select {
		case <-wait.C:
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		}
	}
}

func tryLock(dir *os.File, name string) (*locked, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path.Join(dir.Name(), name), Err: err}
	}
	box := &locked{f: os.NewFile(uintptr(fd), name), dir: dir, name: name}
	var is unix.Stat_t
	if err := unix.Fstat(fd, &is); err != nil || kindOf(is) != unix.S_IFREG {
		box.f.Close()
		return nil, errors.Join(err, errors.New("it is no regular file any more"))
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &lock); err != nil {
		box.f.Close()
		return nil, fmt.Errorf("%w: %w", errLocked, err)
	}
	if err := dotLock(dir, name); err != nil {
		box.f.Close()
		return nil, err
	}
	// Another may have taken its place while it was waited for.
	if there, err := lstat(dir, name); err != nil || there.Ino != is.Ino {
		return nil, errors.Join(box.unlock(), errLocked)
	}
	return box, nil
}

func (l *locked) unlock() error {
	err := dropDotLock(l.dir, l.name, os.Getpid())
	return errors.Join(err, l.f.Close()) // which gives up the other, too
}

func dotLock(dir *os.File, name string) error {
	effect("lock " + name)
	fd, err := unix.Openat(int(dir.Fd()), name+".lock", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w by %s.lock", errLocked, rooted.Printable(name))
	}
	if err != nil {
		return &os.PathError{Op: "create", Path: path.Join(dir.Name(), name+".lock"), Err: err}
	}
	f := os.NewFile(uintptr(fd), name+".lock")
	_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	return errors.Join(err, f.Close())
}

// dropDotLock removes the dot lock if it is that of pid: of a lock that a power
// cut left empty nobody can say whose it is, but that of a mailbox in the
// record is ours.
func dropDotLock(dir *os.File, name string, pid int) error {
	f, err := openRegular(dir, name+".lock")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(f, 32))
	f.Close()
	if text = bytes.TrimSpace(text); err != nil || len(text) > 0 && string(text) != strconv.Itoa(pid) {
		return err
	}
	effect("unlock " + name)
	return unix.Unlinkat(int(dir.Fd()), name+".lock", 0)
}
