package reconcile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	stdpath "path"
	"slices"
	"time"

	"beadm/be/rooted"
	"beadm/sync/decide"
	"beadm/sync/lines"
	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// planner makes a plan by reading only: ops for apply, items for the report.
type planner struct {
	ctx    context.Context
	store  *manifest.Store
	sw     Switch
	to     *known
	root   *rooted.Root // incoming
	base   *manifest.Manifest
	newest *manifest.Manifest // outgoing's last state; its list rules
	aside  bool               // which a failed trial's run came to
	// All since the outgoing one was made from a template, for one made from a
	// newer template.
	template bool
	parts    []part
	taker    manifest.Taker
	// Of FreeBSD's password databases.
	goos, pwdMkdb, scratch string

	// What the plan found at a path, nil for nothing.
	seen map[string]*manifest.Entry
	// Where what is staged for a path is.
	temps map[string]string

	items []Item
	notes []string
	ops   []*op
	moved map[manifest.Text]*moved
	// What came of the paths decided, which may be older than newest: from a
	// boot environment that ran before, or without what was set aside.
	carried map[manifest.Text]decide.Path
	// Open conflicts that ended because the other side took its change back.
	settled map[manifest.Text]bool
	// Those that stay open though the path changes.
	still map[manifest.Text]stillOpen
	paths []string // all that were looked at
	// Of directories, so that it is not found anew for each name in them.
	blockedBy map[string]string // what blocked says
	real      map[string]string // where they lead
	made      map[string]bool   // they are there
}

type opKind int

const (
	opMkdir opKind = iota
	opWrite
	opLink
	opMeta
	opRemove
)

// op is one path that apply changes. entry is how it will be.
type op struct {
	kind  opKind
	path  string
	entry *manifest.Entry
	open  func() (io.ReadCloser, error) // content of a write
	moved *moved                        // whose hashes are known only once it is written
	vital bool                          // its failure is not reported but ends it all
	keeps *op                           // keeps what this one replaces
	// It was given up.
	failed bool
}

// maxAccount and maxText bound what is merged in memory.
const (
	maxAccount = 64 << 20
	maxText    = manifest.Inline
)

func (p *planner) plan() error {
	done, err := p.planAccounts()
	if err != nil {
		return err
	}
	set := map[string]bool{}
	for _, path := range changedPaths(p.parts) {
		set[path] = true
	}
	for _, e := range p.newest.Entries {
		if !p.base.Covers(string(e.Path)) {
			set[string(e.Path)] = true
		}
	}
	if p.to.Pending != nil {
		for _, m := range p.to.Pending.Paths {
			set[string(m.Path)] = true
		}
	}
	for _, s := range p.newest.Shared {
		p.say(string(s), Shared, "in the shared dataset")
	}
	paths := make([]string, 0, len(set))
	for path := range set {
		paths = append(paths, path)
	}
	slices.Sort(paths) // parents come before what is in them
	p.paths = paths
	for _, path := range paths {
		if done[path] {
			continue
		}
		if err := p.ctx.Err(); err != nil {
			return err
		}
		err := p.planPath(path)
		if errors.Is(err, manifest.ErrContent) {
			// It holds up no other.
			delete(p.moved, manifest.Text(path))
			p.say(path, Conflict, manifest.ErrContent.Error())
			continue
		}
		if err != nil {
			return err
		}
	}
	return p.rebuild()
}

func (p *planner) note(text string) { p.notes = append(p.notes, text) }

func (p *planner) say(path string, action Action, reason string) *Item {
	p.items = append(p.items, Item{Path: manifest.Text(path), Action: action, Reason: reason})
	return &p.items[len(p.items)-1]
}

// pending is what an earlier, cut apply did to the path, if it did.
func (p *planner) pending(path string, now *manifest.Entry) *moved {
	m := p.to.Pending.path(path)
	if m == nil || !manifest.Same(m.After, now) {
		return nil
	}
	return m
}

func (p *planner) planPath(path string) error {
	rule, listed := p.newest.List.Match(path)
	if !listed {
		return nil
	}
	c, err := compose(p.store, p.parts, path, rule.Action == synclist.Merge)
	if err != nil {
		return err
	}
	if !p.base.Covers(path) {
		// No common state: all of it counts, but a failed run's.
		c.new, c.unknown = p.newest.Get(path), true
		if p.aside {
			c.new, c.aside = nil, true
		}
	}
	if c.aside {
		p.say(path, Left, "changed in a run that was set aside")
	}
	if shared, err := p.inShared(path); err != nil || shared {
		if err == nil && !manifest.Same(c.old, c.new) {
			p.say(path, Shared, "in the shared dataset here")
		}
		return err
	}
	if dir, err := p.blocked(path); err != nil || dir != "" {
		if err == nil && !manifest.Same(c.old, c.new) {
			p.say(path, Conflict, rooted.Printable(dir)+" is a directory there and not here")
		}
		return err
	}
	now, err := p.taker.Entry(p.root, path)
	if err != nil {
		return err
	}
	p.seen[path] = now
	four := decide.Path{Old: c.old, New: c.new, Base: p.base.Get(path), Now: now, NoBase: c.unknown}
	if m := p.pending(path, now); m != nil {
		// Written by a reconcile that was cut: it is no change of this side.
		p.moved[manifest.Text(path)] = m
		four.Old, four.Base, four.NoBase = m.Consumed, m.Base, false
		c.steps, c.mixed = since(c.steps, m.Consumed), false
	} else if four, c, err = p.undecided(path, rule.Action, four, c); err != nil {
		return err
	}
	if p.sw.Upto == Live && (rule.Action == synclist.Append || rule.Action == synclist.Prepend) {
		return nil
	}
	if (rule.Action == synclist.Append || rule.Action == synclist.Prepend) && four.New != nil && !manifest.Same(four.Old, four.New) {
		if stop, err := p.noLog(path, four); stop || err != nil {
			return err
		}
	}
	verdict, reason := decide.Decide(rule.Action, four)
	if len(c.apart) > 0 && verdict != decide.Leave {
		return p.fallApart(path, four, c.apart)
	}
	if c.mixed && rule.Action == synclist.Merge && verdict == decide.Copy && isFile(four.New) && isFile(four.Now) {
		verdict = decide.Merge // New holds what was of another boot environment before these changes
	}
	return p.carryOut(path, rule.Action, verdict, reason, four, c)
}

// undecided adds to what came there what an earlier switch left in conflict
// here and nobody decided yet: this side has not had it, whatever it ran since.
// Where the change began at what is here now, there is nothing to add: that
// side has the same conflict, or has seen this one's file.
func (p *planner) undecided(path string, action synclist.Action, four decide.Path, c change) (decide.Path, change, error) {
	i := p.to.conflict(path)
	if i < 0 || action == synclist.Append || action == synclist.Prepend || four.NoBase || manifest.Same(four.Old, four.New) {
		return four, c, nil
	}
	open := p.to.Conflicts[i]
	if open.NoBase {
		return four, c, nil
	}
	sum := change{aside: c.aside}
	for _, s := range append([]step{{open.Base, open.Outgoing}}, c.steps...) {
		if err := sum.then(p.store, path, s.old, s.new, action == synclist.Merge); err != nil {
			return four, c, err
		}
	}
	if manifest.Same(four.Old, four.Now) {
		fits := len(sum.apart) == 0
		if fits {
			open.Base, open.Outgoing = sum.old, sum.new
			var err error
			if open.Saved, err = p.beside(path, sum.new); err != nil {
				return four, c, err
			}
		}
		p.still[manifest.Text(path)] = stillOpen{open, fits}
		return four, c, nil
	}
	four.Old, four.New, four.Base = sum.old, sum.new, open.Base
	if manifest.Same(four.Old, four.New) { // taken back there
		p.settled[manifest.Text(path)] = true
	}
	return four, sum, nil
}

func isFile(e *manifest.Entry) bool { return e != nil && e.Type == manifest.File }

// inConflict leaves a path as it is here. What an earlier conflict holds that is
// open there still goes on to be held.
func (p *planner) inConflict(path, reason string, four decide.Path) error {
	name := manifest.Text(path)
	if open, ok := p.still[name]; ok {
		delete(p.still, name)
		if !open.fits {
			return p.fallApart(path, four, []*manifest.Entry{open.Outgoing})
		}
		four.Old, four.New, four.NoBase = open.Base, open.Outgoing, open.NoBase
	}
	p.carried[name] = four
	saved, err := p.beside(path, four.New)
	p.say(path, Conflict, reason).Saved = saved
	return err
}

// fallApart is a conflict within what other boot environments changed, one
// after the other, without having had each other's. All of it is kept.
func (p *planner) fallApart(path string, four decide.Path, earlier []*manifest.Entry) error {
	p.carried[manifest.Text(path)] = four
	reason := "changed in several runs, which do not fit together"
	for _, e := range earlier {
		saved, err := p.beside(path, e)
		if err != nil {
			return err
		}
		if saved != "" {
			reason += "; an earlier one's stands at " + rooted.Printable(string(saved))
		}
	}
	item := p.say(path, Conflict, reason)
	saved, err := p.beside(path, four.New)
	item.Saved = saved
	return err
}

// blocked names a directory above path that is on the list too and was made
// something else here, a link say: nothing is written through it.
func (p *planner) blocked(path string) (string, error) {
	parent := stdpath.Dir(path)
	if dir, known := p.blockedBy[parent]; known {
		return dir, nil
	}
	dir, err := p.blockedNow(path)
	if err == nil {
		p.blockedBy[parent] = dir
	}
	return dir, err
}

// inShared is Taker.InShared, for one name after the other of a directory.
func (p *planner) inShared(path string) (bool, error) {
	parent := stdpath.Dir(path)
	real, known := p.real[parent]
	if !known {
		var err error
		if real, err = p.root.Resolve(parent); err != nil {
			return p.taker.InShared(p.root, path)
		}
		p.real[parent] = real
	}
	if p.taker.IsShared(stdpath.Join(real, stdpath.Base(path))) {
		return true, nil
	}
	if info, err := p.root.Lstat(path); err == nil && !info.IsLink() {
		return false, nil
	}
	return p.taker.InShared(p.root, path)
}

func (p *planner) blockedNow(path string) (string, error) {
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		dir := path[:i]
		there := p.newest.Get(dir)
		if there == nil {
			there = p.base.Get(dir)
		}
		if there == nil || there.Type != manifest.Dir {
			continue
		}
		info, err := p.root.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if !info.IsDir() {
			return dir, nil
		}
	}
	return "", nil
}

// since drops the steps that were had up to entry e.
func since(steps []step, e *manifest.Entry) []step {
	for i := len(steps) - 1; i >= 0; i-- {
		if manifest.SameContent(steps[i].new, e) {
			return steps[i+1:]
		}
	}
	for i := len(steps) - 1; i >= 0 && e != nil; i-- {
		if n := steps[i].new; n != nil {
			if _, ok := n.Heads[e.Hash]; ok {
				return append([]step{{e, n}}, steps[i+1:]...)
			}
		}
	}
	return steps
}

func (p *planner) carryOut(path string, action synclist.Action, verdict decide.Verdict, reason string, four decide.Path, c change) error {
	p.carried[manifest.Text(path)] = four
	move := func(after, base *manifest.Entry) *moved {
		m := &moved{Path: manifest.Text(path), After: after, Base: base, Consumed: four.New}
		p.moved[manifest.Text(path)] = m
		return m
	}
	switch verdict {
	case decide.Leave:
		// Changed alike on both sides, its base moves too: a further change
		// there must find it in step.
		if base, alike := four.Alike(); alike {
			move(four.Now, base)
		}
		return nil
	case decide.Kept:
		p.say(path, Kept, reason)
	case decide.NotGone:
		p.say(path, Left, reason)
	case decide.Conflict:
		if _, unordered := grants(path); unordered && action == synclist.Merge && four.New == nil && isFile(four.Old) && isFile(four.Now) {
			return p.takeLines(path, reason, four, move)
		}
		return p.inConflict(path, reason, four)
	case decide.Remove:
		p.ops = append(p.ops, &op{kind: opRemove, path: path})
		p.say(path, Removed, reason)
		move(nil, nil)
	case decide.Meta:
		e := four.Now.WithMetaOf(four.New)
		p.ops = append(p.ops, &op{kind: opMeta, path: path, entry: e})
		p.say(path, Copied, "mode, owner or attributes changed there")
		base := four.New
		if four.Base != nil && !manifest.SameContent(four.New, e) {
			base = four.Base.WithMetaOf(e)
		}
		move(e, base)
	case decide.Copy, decide.Replace:
		var saved manifest.Text
		var keeps *op
		if verdict == decide.Replace {
			var err error
			if saved, err = p.besideNow(path, four.Now); err != nil {
				return err
			}
			if i := slices.IndexFunc(p.ops, func(o *op) bool { return o.path == string(saved) }); i >= 0 {
				keeps = p.ops[i]
			}
		}
		e := four.Copied()
		if err := p.copyEntry(path, e); err != nil {
			return p.inConflict(path, rooted.Printable(err.Error()), four)
		}
		p.ops[len(p.ops)-1].keeps = keeps
		p.say(path, Copied, reason).Saved = saved
		move(e, e)
	case decide.Merge:
		return p.mergeText(path, four, c, move)
	case decide.Append, decide.Prepend:
		return p.grow(path, verdict, four, c.steps, move)
	default:
		return fmt.Errorf("%s: no way to %q", path, verdict)
	}
	return nil
}

// copyEntry makes path as e.
func (p *planner) copyEntry(path string, e *manifest.Entry) error {
	o := &op{path: path, entry: e}
	switch e.Type {
	case manifest.Dir:
		o.kind = opMkdir
	case manifest.Link:
		o.kind = opLink
	case manifest.File:
		if !e.Stored {
			return errors.New("its content was not recorded: too large when the list did not name it")
		}
		o.kind = opWrite
		o.open = func() (io.ReadCloser, error) { return p.store.Open(e.Hash) }
	default:
		return errors.New("a device, FIFO or socket is not carried")
	}
	p.ops = append(p.ops, o)
	return nil
}

// beside plans to keep e, which is not taken, under a name of its own.
func (p *planner) beside(path string, e *manifest.Entry) (manifest.Text, error) {
	if e == nil || e.Type != manifest.File || !e.Stored {
		return "", nil
	}
	return p.keep(path, e, func() (io.ReadCloser, error) { return p.store.Open(e.Hash) })
}

// besideNow plans to keep what is about to be replaced.
func (p *planner) besideNow(path string, now *manifest.Entry) (manifest.Text, error) {
	if now.Type != manifest.File {
		return "", nil // a link's target is in the report of the copy
	}
	return p.keep(path, now, func() (io.ReadCloser, error) { return p.root.OpenNoFollow(path) })
}

func (p *planner) keep(path string, e *manifest.Entry, open func() (io.ReadCloser, error)) (manifest.Text, error) {
	name := besideName(path, e.Hash)
	kept := *e
	// Not more readable than it was, and not setuid: it is only to look at.
	kept.Mode &= 0o600
	kept.Xattrs = nil
	kept.UID, kept.GID = 0, 0
	if info, err := p.root.Lstat(name); err == nil && info.IsRegular() && info.Size == e.Size {
		return manifest.Text(name), nil // from a reconcile before
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if !slices.ContainsFunc(p.ops, func(o *op) bool { return o.path == name }) {
		p.ops = append(p.ops, &op{kind: opWrite, path: name, entry: &kept, open: open})
	}
	return manifest.Text(name), nil
}

const tooLarge = "changed there and here, too large to merge"

// mergeText merges a file that both sides changed.
func (p *planner) mergeText(path string, four decide.Path, c change, move func(after, base *manifest.Entry) *moved) error {
	conflict := func(reason string) error { return p.inConflict(path, reason, four) }
	steps := []step{{four.Old, four.New}}
	if c.mixed {
		steps = c.steps
	}
	merged, err := p.root.ReadFileLimit(path, maxText)
	if errors.Is(err, rooted.ErrTooLarge) {
		return conflict(tooLarge)
	}
	if err != nil {
		return err
	}
	cur := merged
	for _, s := range steps {
		if s.new == nil || manifest.SameContent(s.old, s.new) {
			continue // made again by a later one; metadata only
		}
		texts := [2][]byte{}
		for i, e := range []*manifest.Entry{s.old, s.new} {
			switch {
			case e == nil:
			case e.Type != manifest.File:
				return conflict("changed there and here")
			case !e.Stored || e.Size > maxText:
				return conflict(tooLarge)
			default:
				if texts[i], err = p.store.Read(e.Hash); err != nil {
					return err
				}
			}
		}
		if sum := sha256.Sum256(merged); s.old != nil && s.old.Hash == hex.EncodeToString(sum[:]) {
			merged = texts[1]
		} else {
			var ok bool
			if merged, ok = mergeLines(path, texts[0], texts[1], merged); !ok {
				return conflict("the same lines changed there and here")
			}
		}
	}
	e := *four.Now
	if four.Old == nil || !manifest.SameMeta(four.Old, four.New) {
		e = *four.Now.WithMetaOf(four.New) // not changed here, or alike: Decide
	}
	e.Mtime = four.New.Mtime
	if !bytes.Equal(merged, cur) || !manifest.SameMeta(&e, four.Now) {
		p.write(path, &e, merged)
		p.say(path, Merged, "changed there and here, in different lines")
	}
	base := four.New
	if manifest.SameMeta(four.Old, four.New) && four.Base != nil {
		base = base.WithMetaOf(four.Base) // changed here or not: no matter of the delta
	}
	move(&e, base)
	return nil
}

// takeLines takes from a file the lines of one that was removed there: what they
// granted is granted no more.
func (p *planner) takeLines(path, reason string, four decide.Path, move func(after, base *manifest.Entry) *moved) error {
	if !four.Old.Stored || four.Old.Size > maxText || four.Now.Size > maxText {
		return p.inConflict(path, reason, four)
	}
	was, err := p.store.Read(four.Old.Hash)
	if err != nil {
		return err
	}
	cur, err := p.root.ReadFileLimit(path, maxText)
	if err != nil {
		return err
	}
	e := *four.Now
	if left := lines.Set(was, nil, cur); !bytes.Equal(left, cur) {
		e.Mtime = time.Time{}
		p.write(path, &e, left)
		p.say(path, Merged, "removed there; what was added here stays")
	}
	move(&e, nil)
	return nil
}

// write plans a file whose content is in memory, and fills in e.
func (p *planner) write(path string, e *manifest.Entry, data []byte) *op {
	sum := sha256.Sum256(data)
	e.Path, e.Type, e.Hash, e.Size = manifest.Text(path), manifest.File, hex.EncodeToString(sum[:]), int64(len(data))
	e.Tail, e.Heads, e.Begins, e.Stored = nil, nil, nil, false
	o := &op{kind: opWrite, path: path, entry: e, open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
	p.ops = append(p.ops, o)
	return o
}
