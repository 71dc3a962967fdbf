package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/sync/manifest"
)

// errCut is a cut made by a test: nothing is cleaned up after it, as after a
// power cut.
var errCut = errors.New("cut")

// apply carries out a plan. The order is argued from a power cut at each
// line: whatever is on disk then, the next Reconcile comes to the same end.
func (a *Archive) apply(x *index, p *planner, now *manifest.Manifest) error {
	if err := a.sweepTemp(p); err != nil {
		return err
	}
	staged, err := a.stage(p)
	if err != nil {
		if !errors.Is(err, errCut) {
			for _, s := range staged {
				s.file.Discard()
			}
		}
		return err
	}
	// First barrier: content. A name must not be on disk before what it
	// names; one syncfs a file system is cheaper than an fsync a file.
	if err := a.barrier(p, "content"); err != nil {
		return err
	}
	pend := &pending{}
	for _, m := range p.moved {
		pend.Paths = append(pend.Paths, m)
	}
	slices.SortFunc(pend.Paths, func(a, b *moved) int { return strings.Compare(string(a.Path), string(b.Path)) })
	if now != nil && p.sw.Upto == Mark {
		if err := a.effect("mark"); err != nil {
			return err
		}
		if pend.Upto, err = a.store.Save(now); err != nil {
			return err
		}
	}
	// The intent is durable before the first name changes: cut from here on,
	// the next Reconcile knows what it finds for its own work, not for a
	// change that somebody made here.
	if len(p.ops) > 0 {
		p.to.Pending = pend
		if err := a.save(x); err != nil {
			return err
		}
	}
	if err := a.commit(p, staged); err != nil {
		if !errors.Is(err, errCut) {
			for _, s := range staged {
				s.file.Discard()
			}
		}
		return err
	}
	// Second barrier: names. Only when they are on disk may the marks say
	// that this boot environment has had the changes.
	if err := a.barrier(p, "names"); err != nil {
		return err
	}
	return a.settle(x, p, pend.Upto)
}

// staged is a file that waits for its name.
type stagedOp struct {
	op   *op
	file *rooted.Staged
}

// sweepTemp removes what a cut apply staged and did not name.
func (a *Archive) sweepTemp(p *planner) error {
	dirs := map[string]bool{"/etc": true}
	for _, name := range p.paths {
		above(dirs, name)
	}
	for dir := range dirs {
		if err := a.effect("sweep " + dir); err != nil {
			return err
		}
		if err := p.root.SweepTemp(dir); err != nil && !benign(err) {
			return err
		}
	}
	return nil
}

func (a *Archive) stage(p *planner) (staged []stagedOp, err error) {
	var ops []*op
	for _, o := range p.ops {
		if err := p.ctx.Err(); err != nil {
			return staged, err
		}
		if err := a.effect("stage " + o.path); err != nil {
			return staged, err
		}
		s, err := p.stageOne(o)
		if err != nil && (o.vital || !benign(err)) {
			return staged, advise(o, err)
		}
		if err != nil {
			p.giveUp(o, err)
			continue
		}
		ops = append(ops, o)
		if s != nil {
			p.temps[o.path] = s.Temp()
			staged = append(staged, stagedOp{o, s})
		}
	}
	p.ops = ops
	return staged, nil
}

// stageLink stages a file as one more name of what has another of its names
// there, and comes too or is in place from before a cut; nil where there is none.
func (p *planner) stageLink(o *op) *rooted.Staged {
	there := p.newest.Get(o.path)
	if there == nil || there.Links == "" || o.moved != nil || !manifest.Same(there, o.entry) {
		return nil
	}
	t := manifest.Taker{Shared: p.taker.Shared, Most: p.taker.Most}
	for _, other := range p.newest.Entries {
		if other.Links != there.Links || other.Path == there.Path {
			continue
		}
		of, staged := p.temps[string(other.Path)]
		if !staged {
			of = string(other.Path)
		}
		now, err := t.Entry(p.root, of)
		if err != nil || now == nil || now.Type != manifest.File || !manifest.Same(now, o.entry) {
			continue
		}
		s, err := p.root.StageLink(of, o.path)
		if err != nil {
			continue
		}
		if info, err := p.root.Lstat(s.Temp()); err != nil || info.Ino != now.Ino {
			s.Discard() // exchanged meanwhile
			continue
		}
		return s
	}
	return nil
}

// benign errors are about one path that is not what it was taken for; they
// are reported and the others go on. EPERM is a file or directory that was made
// immutable. No space, a read-only file system or a
// failing disk are not.
func benign(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EBUSY, unix.ENOTSUP, unix.ENOTDIR, unix.EISDIR, unix.ELOOP,
		unix.ENOENT, unix.EEXIST, unix.ENOTEMPTY, unix.ENAMETOOLONG, rooted.ErrNotRegular, manifest.ErrContent, errTouched} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// advise says what to do where an account file cannot be written.
func advise(o *op, err error) error {
	if errors.Is(err, errTouched) {
		return be.E(be.InUse, "%s: %w; give the command again", rooted.Printable(o.path), err)
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w; if it or its directory is immutable there, make it writable (chattr -i, chflags noschg)", err)
	}
	return err
}

// giveUp reports a path that could not be written.
func (p *planner) giveUp(o *op, err error) {
	o.failed = true
	delete(p.moved, manifest.Text(o.path))
	why := rooted.Printable(err.Error())
	for i := range p.items {
		if p.items[i].Path == manifest.Text(o.path) {
			p.items[i].Action, p.items[i].Reason = Conflict, why
			return
		}
	}
	p.say(o.path, Conflict, why)
}

func (p *planner) stageOne(o *op) (*rooted.Staged, error) {
	switch o.kind {
	case opMkdir:
		// A directory shows at once; empty, it does nobody harm, and it is
		// found alike when this is done again.
		if err := p.parents(o); err != nil {
			return nil, err
		}
		err := p.root.MkdirAttr(o.path, o.entry.Attr())
		if errors.Is(err, fs.ErrExist) {
			err = p.root.SetAttr(o.path, o.entry.Attr())
		}
		return nil, err
	case opLink:
		if err := p.parents(o); err != nil {
			return nil, err
		}
		return p.root.StageSymlink(string(o.entry.Target), o.path, int(o.entry.UID), int(o.entry.GID))
	case opWrite:
		if err := p.parents(o); err != nil {
			return nil, err
		}
		if s := p.stageLink(o); s != nil {
			return s, nil
		}
		in, err := o.open()
		if err != nil {
			return nil, err
		}
		defer in.Close()
		sum := sha256.New()
		size := &counter{}
		s, err := p.root.Stage(o.path, io.TeeReader(in, io.MultiWriter(sum, size)), o.entry.Attr())
		if err != nil {
			return nil, err
		}
		hash := hex.EncodeToString(sum.Sum(nil))
		if o.moved != nil { // known only now
			o.entry.Hash, o.entry.Size = hash, size.n
		} else if hash != o.entry.Hash {
			s.Discard()
			return nil, manifest.ErrContent
		}
		return s, nil
	}
	return nil, nil
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) { c.n += int64(len(b)); return len(b), nil }

// parents makes missing directories above what comes, as they are there.
func (p *planner) parents(o *op) error {
	if p.made[path.Dir(o.path)] {
		return nil
	}
	made, err := makeParents(p.root, o.path, p.directory, o.entry.Mode)
	for _, there := range made {
		name := there.Path
		if _, decided := p.carried[name]; !decided && p.newest.Get(string(name)) != nil {
			p.moved[name] = &moved{Path: name, After: there, Base: there, Consumed: there}
		}
	}
	p.made[path.Dir(o.path)] = err == nil
	return err
}

// directory is what a directory is like on the outgoing side, or on that of an
// earlier run; nil if it is not known.
func (p *planner) directory(dir string) *manifest.Entry {
	if e := p.newest.Directory(dir); e != nil {
		return e
	}
	for _, part := range slices.Backward(p.parts) {
		if e := part.to.Directory(dir); e != nil {
			return e
		}
	}
	return nil
}

// makeParents makes the missing directories above a name as look says that they
// are, and returns those. One that is not known is no more open than what it is
// made for, of this mode.
func makeParents(root *rooted.Root, name string, look func(dir string) *manifest.Entry, mode uint32) (made []*manifest.Entry, err error) {
	for i := 1; i < len(name); i++ {
		if name[i] != '/' {
			continue
		}
		there := look(name[:i])
		if there == nil {
			continue
		}
		if err := root.MkdirAttr(name[:i], there.Attr()); errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return made, err
		}
		made = append(made, there)
	}
	// Those left, and where a link leads that leads nowhere.
	perm := fs.FileMode(0o755)
	if there := look(path.Dir(name)); there != nil {
		perm = fs.FileMode(there.Mode & 0o755)
	} else if mode&0o077 == 0 {
		perm = 0o700
	}
	return made, root.MkdirAll(path.Dir(name), perm)
}

// untouched fails where a path is not any more what the plan was made of: who
// changes a boot environment that runs knows nothing of a sync into it.
func (p *planner) untouched(o *op) error {
	was, seen := p.seen[o.path]
	if !seen {
		return nil
	}
	info, err := p.root.Lstat(o.path)
	if err == nil && was != nil && was.Type == manifest.File && info.IsRegular() && info.Ino == was.Ino && info.Ctime.Equal(was.Ctime) {
		return nil
	}
	// Its ctime also moves when this sync replaces another name of the file.
	t := manifest.Taker{Shared: p.taker.Shared, Most: p.taker.Most}
	now, err := t.Entry(p.root, o.path)
	if err != nil {
		return err
	}
	if manifest.SameContent(was, now) && (manifest.SameMeta(was, now) || o.kind == opMeta && manifest.SameMeta(o.entry, now)) {
		return nil
	}
	return errTouched
}

var errTouched = errors.New("it was changed here while the sync ran")

func (a *Archive) commit(p *planner, staged []stagedOp) error {
	if slices.ContainsFunc(p.ops, func(o *op) bool { return o.vital }) {
		unlock, err := lockAccounts(p.ctx, p.root)
		if err != nil {
			return err
		}
		defer unlock()
	}
	for _, s := range staged {
		if err := a.effect("rename " + s.op.path); err != nil {
			return err
		}
		if k := s.op.keeps; k != nil && k.failed {
			s.file.Discard()
			p.giveUp(s.op, errors.New("what is here could not be kept, and was not replaced"))
			continue
		}
		err := p.untouched(s.op)
		if err != nil {
			s.file.Discard()
		} else {
			err = s.file.Commit()
		}
		if err != nil {
			if s.op.vital || !benign(err) {
				return advise(s.op, err)
			}
			p.giveUp(s.op, err)
		}
	}
	for _, o := range p.ops {
		if o.kind != opMeta {
			continue
		}
		if err := a.effect("meta " + o.path); err != nil {
			return err
		}
		attr := o.entry.Attr()
		attr.Mtime = o.entry.Mtime
		err := p.untouched(o)
		if err == nil {
			err = p.root.SetAttr(o.path, attr)
		}
		if err != nil {
			if o.vital || !benign(err) {
				return advise(o, err)
			}
			p.giveUp(o, err)
		}
	}
	// Backwards: what is in a directory goes before it.
	for i := len(p.ops) - 1; i >= 0; i-- {
		o := p.ops[i]
		if o.kind != opRemove {
			continue
		}
		if err := a.effect("remove " + o.path); err != nil {
			return err
		}
		err := p.untouched(o)
		if err == nil {
			err = p.root.Remove(o.path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			if !benign(err) {
				return err
			}
			p.giveUp(o, err)
		}
	}
	return nil
}

// barrier makes all that was done durable, one syncfs for each file system.
func (a *Archive) barrier(p *planner, what string) error {
	done := map[uint64]bool{}
	for _, o := range p.ops {
		dir := path.Dir(o.path)
		info, err := p.root.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if done[info.Dev] {
			continue
		}
		if err := a.effect("barrier " + what); err != nil {
			return err
		}
		if err := p.root.SyncFSAt(dir); err != nil {
			return err
		}
		done[info.Dev] = true
	}
	return nil
}

// settle sets marks and moves the base: after this write the incoming has had
// it, before it nothing of it.
func (a *Archive) settle(x *index, p *planner, mark manifest.ID) error {
	k := p.to
	var base *manifest.Manifest
	if p.base != nil {
		set := map[string]*manifest.Entry{}
		for name, m := range p.moved {
			set[string(name)] = m.Base
		}
		// Paths that the list names since: from now on there is a base.
		for _, name := range p.paths {
			if _, done := set[name]; !done && !p.base.Covers(name) {
				e, err := p.taker.Entry(p.root, name)
				if err != nil {
					return err
				}
				set[name] = e
			}
		}
		base = p.base.With(set)
		base.List = p.newest.List
	} else {
		var err error
		if base, err = p.taker.Take(p.ctx, p.root, p.sw.To, p.newest.List); err != nil {
			return err
		}
	}
	if len(p.moved) > 0 || p.base == nil || k.Base == "" {
		if err := a.effect("base"); err != nil {
			return err
		}
		id, err := a.store.Save(base)
		if err != nil {
			return err
		}
		k.Base = id
	}
	if k.Fresh {
		k.hasHad(x, p.sw, mark)
	}
	for _, part := range p.parts {
		switch {
		case p.template: // no run's
		case part.security && !part.run.Failed:
			// Not delivered: a return after a failed trial carries only what
			// takes rights away, the rest stays owed.
		case part.security:
			k.Had[part.run.ID] = hadSecurity
		case part.run.End != "":
			k.Had[part.run.ID] = hadAll
		case mark != "":
			k.Had[part.run.ID] = had(mark)
		}
	}
	k.Pending = nil
	k.Conflicts = p.openThen()
	return a.save(x)
}
