package share

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	copier "beadm/be/copy"
	"beadm/be/rooted"
	"beadm/share/mbox"
)

// ReplacedDir, at the top of the shared dataset, holds what Restore set aside.
const ReplacedDir = ".beadm-replaced"

// RestoreOptions say what is brought back.
type RestoreOptions struct {
	Snap  string   // where the snapshot is mounted, read-only
	Live  string   // where the shared dataset is
	Paths []string // relative to its top: "mail", "mail/alice"

	// Aside is the directory below ReplacedDir for what is set aside; a Restore
	// that is done again is given the same.
	Aside string

	// Patience is how long a mailbox that is locked is waited for. Zero is a
	// minute.
	Patience time.Duration

	// Progress, if not nil, hears of each path before it is looked at.
	Progress func(path string)

	DryRun bool // only look
}

// Restored says what became of what a snapshot holds. Paths are relative to the
// top of the shared dataset.
type Restored struct {
	Mailboxes []string `json:"mailboxes,omitempty"` // of one file, that got messages back
	Messages  int      `json:"messages"`            // that they got
	Brought   int      `json:"brought_back"`        // names that were not there: files, links, messages of a Maildir
	Same      int      `json:"same"`                // as in the snapshot, or gone on from there
	SetAside  []string `json:"set_aside,omitempty"` // what stood where something else is again
	Directory string   `json:"directory"`           // where that is, below the shared dataset; empty if none
	Locked    []string `json:"locked,omitempty"`    // mailboxes whose lock nobody gave up: nothing was done to them
}

// Restore brings back what the snapshot holds and the shared dataset does not,
// file by file; nothing is deleted, and no file loses a byte that is not kept:
//
//   - a mailbox of one file: the snapshot's messages, then what it has beyond
//     them, each once, under its dot lock and its fcntl lock;
//   - Maildir and MH: the messages of both;
//   - a file that begins with what the snapshot's holds has gone on and stays;
//   - any other that differs is set aside, and the snapshot's takes its place.
//
// Sockets and lock files are not brought back. Restore may be killed at any
// point and done again; a mailbox that was being written is whole again after
// FinishRestore.
func Restore(ctx context.Context, o RestoreOptions) (Restored, error) {
	var res Restored
	snap, err := rooted.Open(o.Snap)
	if err != nil {
		return res, be.E(be.NotFound, "cannot restore: %w", err)
	}
	defer snap.Close()
	live, err := openShare(o.Live)
	if err != nil {
		return res, err
	}
	defer live.Close()
	r := &restoring{ctx: ctx, o: o, live: live, res: &res, aside: ReplacedDir + "/" + o.Aside}
	for _, p := range o.Paths {
		err := r.path(snap, p)
		if err == nil && !o.DryRun {
			err = wrap(be.Other, "cannot make it durable", live.SyncFS())
		}
		if err != nil {
			return res, be.E(be.KindOf(err), "cannot restore %s: %w", rooted.Printable(p), err)
		}
	}
	if len(res.SetAside) > 0 && !o.DryRun {
		res.Directory = r.aside
	}
	return res, nil
}

// Holds says, as an error, which of the paths cannot be restored from the
// snapshot mounted at snap.
func Holds(snap string, paths []string) error {
	root, err := rooted.Open(snap)
	if err != nil {
		return be.E(be.NotFound, "cannot restore: %w", err)
	}
	defer root.Close()
	for _, p := range paths {
		parts, err := partsOf(p)
		if err == nil {
			var dir *os.File
			if dir, err = openIn(root, parts[:len(parts)-1]); err == nil {
				_, err = lstat(dir, parts[len(parts)-1])
				dir.Close()
			}
			if err != nil {
				err = be.E(be.NotFound, "the snapshot does not have it")
			}
		}
		if err != nil {
			return be.E(be.KindOf(err), "cannot restore %s: %w", rooted.Printable(p), err)
		}
	}
	return nil
}

// partsOf are the names that a path in the shared dataset leads through.
func partsOf(p string) ([]string, error) {
	parts := strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || strings.HasPrefix(part, ".beadm-") {
			return nil, be.E(be.Usage, "it is no path in the shared data")
		}
	}
	return parts, nil
}

type restoring struct {
	ctx   context.Context
	o     RestoreOptions
	live  *rooted.Root
	res   *Restored
	aside string
}

// path restores one of the paths asked for. What leads to it must be there in
// the snapshot, and is made anew where it is not in the dataset.
func (r *restoring) path(snap *rooted.Root, p string) error {
	parts, err := partsOf(p)
	if err != nil {
		return err
	}
	src, err := copier.OpenDir(snap, "/")
	if err != nil {
		return err
	}
	defer func() { src.Close() }()
	dst, err := copier.OpenDir(r.live, "/")
	if err != nil {
		return err
	}
	defer func() { dst.Close() }()
	for i, part := range parts[:len(parts)-1] {
		sub, err := openSub(src, part)
		if err != nil {
			return be.E(be.NotFound, "the snapshot has no directory %s", strings.Join(parts[:i+1], "/"))
		}
		src.Close()
		src = sub
		if !r.o.DryRun {
			if err := makeDir(src, dst, part); err != nil {
				return err
			}
		}
		next, err := openSub(dst, part)
		if r.o.DryRun && errors.Is(err, fs.ErrNotExist) {
			return r.count(src, parts[len(parts)-1])
		}
		if err != nil {
			return err
		}
		dst.Close()
		dst = next
	}
	last := parts[len(parts)-1]
	if _, err := lstat(src, last); err != nil {
		return be.E(be.NotFound, "the snapshot does not have it")
	}
	if err := r.sweep(dst); err != nil {
		return err
	}
	return r.entry(src, dst, last, parts[:len(parts)-1])
}

// sweep removes what a cut left half made.
func (r *restoring) sweep(dst *os.File) error {
	if r.o.DryRun {
		return nil
	}
	again, err := openSub(dst, ".") // reading moves an offset
	if err != nil {
		return err
	}
	defer again.Close()
	names, err := copier.NamesIn(again)
	for _, name := range names {
		if !strings.HasPrefix(name, rooted.TempPrefix) {
			continue
		}
		err := unix.Unlinkat(int(dst.Fd()), name, 0)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
			err = unix.Unlinkat(int(dst.Fd()), name, unix.AT_REMOVEDIR)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "remove", Path: name, Err: err}
		}
	}
	return err
}

// entry restores name of src in dst; at leads there.
func (r *restoring) entry(src, dst *os.File, name string, at []string) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if len(at) > rooted.MaxDepth {
		return errors.New("the directories are too deep")
	}
	at = append(at[:len(at):len(at)], name)
	if r.o.Progress != nil {
		r.o.Progress(strings.Join(at, "/"))
	}
	was, err := lstat(src, name)
	if err != nil {
		return err
	}
	now, err := lstat(dst, name)
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return err
	}
	switch {
	case kindOf(was) == unix.S_IFSOCK:
		return nil
	case kindOf(was) == unix.S_IFDIR:
		return r.dir(src, dst, name, at, absent, now)
	case absent:
		return r.bring(src, dst, name)
	case kindOf(was) == kindOf(now) && kindOf(was) == unix.S_IFREG:
		return r.file(src, dst, name, at)
	}
	same, err := adds(r.ctx, src, dst, name)
	if err != nil {
		return err
	}
	if same {
		r.res.Same++
		return nil
	}
	return r.replace(src, dst, name, at)
}

func (r *restoring) dir(src, dst *os.File, name string, at []string, absent bool, now unix.Stat_t) error {
	sub, err := openSub(src, name)
	if err != nil {
		return err
	}
	defer sub.Close()
	if !absent && kindOf(now) != unix.S_IFDIR {
		if err := r.setAside(dst, name, at); err != nil {
			return err
		}
		absent = true
	}
	if r.o.DryRun && absent {
		return r.countAll(sub)
	}
	if absent {
		effect("restore directory " + strings.Join(at, "/"))
		if err := makeDir(sub, dst, name); err != nil {
			return err
		}
	}
	into, err := openSub(dst, name)
	if err != nil {
		return err
	}
	defer into.Close()
	if err := r.sweep(into); err != nil {
		return err
	}
	switch {
	case isMaildir(sub):
		return r.maildir(sub, into, at)
	case isMH(sub) || isMH(into):
		return r.mh(sub, into, at)
	}
	names, err := namesIn(sub)
	if err != nil {
		return err
	}
	for _, child := range names {
		if base, lock := strings.CutSuffix(child, ".lock"); lock && slices.Contains(names, base) {
			continue // whoever held it is gone
		}
		if err := r.entry(sub, into, child, at); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a directory like src if there is nothing of that name.
func makeDir(src, dst *os.File, name string) error {
	if _, err := lstat(dst, name); err == nil {
		return nil
	}
	if err := copier.Dir(src, dst, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// file is of two regular files of one name.
func (r *restoring) file(src, dst *os.File, name string, at []string) error {
	same, err := adds(r.ctx, src, dst, name)
	if err != nil {
		return err
	}
	if same {
		r.res.Same++
		return nil
	}
	is, err := isMailbox(src, dst, name)
	if err != nil {
		return err
	}
	if is {
		// One of too many messages is as any other file.
		if err := r.mailbox(src, dst, name, at); !errors.Is(err, mbox.ErrMany) {
			return err
		}
	}
	return r.replace(src, dst, name, at)
}

func isMailbox(src, dst *os.File, name string) (bool, error) {
	for i, dir := range []*os.File{src, dst} {
		f, err := openRegular(dir, name)
		if err != nil {
			return false, err
		}
		head := make([]byte, 5)
		n, _ := f.ReadAt(head, 0)
		f.Close()
		if !mbox.Is(head[:n]) && (i == 0 || n > 0) {
			return false, nil
		}
	}
	return true, nil
}

// bring copies what is not there. If it comes to be there meanwhile, that is
// looked at when Restore is done again.
func (r *restoring) bring(src, dst *os.File, name string) error {
	r.res.Brought++
	if r.o.DryRun {
		return nil
	}
	effect("bring back " + name)
	err := copier.Node(src, name, dst, name, copier.Options{})
	if errors.Is(err, fs.ErrExist) {
		return be.E(be.InUse, "%s came to be while it was looked at: do it again", rooted.Printable(name))
	}
	return err
}

// replace has the snapshot's in the place of what is there, which is set aside:
// there is one of the two under the name all the time, but for an instant.
func (r *restoring) replace(src, dst *os.File, name string, at []string) error {
	if r.o.DryRun {
		r.res.SetAside = append(r.res.SetAside, strings.Join(at, "/"))
		return nil
	}
	const temp = rooted.TempPrefix + "restore"
	if err := unix.Unlinkat(int(dst.Fd()), temp, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	effect("copy " + strings.Join(at, "/"))
	if err := copier.Node(src, name, dst, temp, copier.Options{}); err != nil {
		return err
	}
	if err := r.setAside(dst, name, at); err != nil {
		unix.Unlinkat(int(dst.Fd()), temp, 0)
		return err
	}
	effect("put " + strings.Join(at, "/"))
	return unix.Renameat(int(dst.Fd()), temp, int(dst.Fd()), name)
}

// setAside moves what is there to where only root looks.
func (r *restoring) setAside(dst *os.File, name string, at []string) error {
	r.res.SetAside = append(r.res.SetAside, strings.Join(at, "/"))
	if r.o.DryRun {
		return nil
	}
	if err := r.live.MkdirAll(ReplacedDir, 0o700); err != nil {
		return err
	}
	dir := path.Join(r.aside, path.Join(at[:len(at)-1]...))
	if err := r.live.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	to, err := copier.OpenDir(r.live, dir)
	if err != nil {
		return err
	}
	defer to.Close()
	effect("set aside " + strings.Join(at, "/"))
	free := name
	for n := 2; ; n++ { // of a Restore that was cut behind this
		if _, err := lstat(to, free); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		free = name + "." + itoa(n)
	}
	return unix.Renameat(int(dst.Fd()), name, int(to.Fd()), free)
}

// count and countAll say of a dry run what is not there at all.
func (r *restoring) count(src *os.File, name string) error {
	st, err := lstat(src, name)
	if err != nil {
		return be.E(be.NotFound, "the snapshot does not have it")
	}
	if kindOf(st) == unix.S_IFSOCK {
		return nil
	}
	if kindOf(st) != unix.S_IFDIR {
		r.res.Brought++
		return nil
	}
	sub, err := openSub(src, name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return r.countAll(sub)
}

func (r *restoring) countAll(dir *os.File) error {
	names, err := namesIn(dir)
	for _, name := range names {
		if err := r.count(dir, name); err != nil {
			return err
		}
	}
	return err
}

func namesIn(dir *os.File) ([]string, error) {
	again, err := openSub(dir, ".") // reading moves an offset
	if err != nil {
		return nil, err
	}
	defer again.Close()
	all, err := copier.NamesIn(again)
	names := slices.DeleteFunc(all, func(name string) bool {
		return strings.HasPrefix(name, rooted.TempPrefix) // was never complete
	})
	slices.Sort(names)
	return names, err
}

func lstat(dir *os.File, name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return st, &os.PathError{Op: "lstat", Path: dir.Name() + "/" + name, Err: err}
	}
	return st, nil
}

func kindOf(st unix.Stat_t) uint32 { return uint32(st.Mode) & unix.S_IFMT }
