package reconcile

import (
	"fmt"
	"io"
	"slices"

	"beadm/be/rooted"
	"beadm/sync/decide"
	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// noLog says why a file is not appended to, if it is not.
func (p *planner) noLog(path string, four decide.Path) (stop bool, err error) {
	if base, ok := manifest.RotatedFrom(path); ok && p.newest.Get(base) != nil {
		if rule, listed := p.newest.List.Match(base); listed && (rule.Action == synclist.Append || rule.Action == synclist.Prepend) {
			if four.Now == nil || !manifest.SameContent(four.New, four.Now) {
				p.say(path, Left, "an older part of "+rooted.Printable(base)+": what was written to it is added there")
			}
			return true, nil
		}
	}
	if four.New.Type != manifest.File || four.Now == nil {
		return false, nil // carried whole, or not at all
	}
	var head []byte
	if f, err := p.root.OpenNoFollow(path); err == nil {
		head, err = io.ReadAll(io.LimitReader(f, 16))
		f.Close()
		if err != nil {
			return false, err
		}
	}
	if why := manifest.Indexed(path, head); why != "" {
		item := p.say(path, Conflict, "not appended to: "+why)
		p.carried[manifest.Text(path)] = four
		item.Saved, err = p.beside(path, four.New)
		return true, err
	}
	return false, nil
}

// grow plans APPEND and PREPEND, part by part, in constant memory.
func (p *planner) grow(path string, verdict decide.Verdict, four decide.Path, grown []step, move func(after, base *manifest.Entry) *moved) error {
	var pieces []func() (io.ReadCloser, error)
	size, twice := int64(0), int64(0)
	gap := false
	for _, s := range grown {
		if s.new == nil || s.new.Type != manifest.File {
			continue // rotated away: what comes next is all new
		}
		from := int64(0)
		if s.old != nil && s.old.Type == manifest.File {
			n, continues := s.new.Heads[s.old.Hash]
			_, rotated := s.new.Before[s.old.Hash]
			cut, unsure := int64(0), int64(0)
			if !continues && !rotated {
				var err error
				if cut, unsure, err = p.cutBack(path, s.old, s.new); err != nil {
					return err
				}
			}
			switch {
			case continues && n == s.old.Size:
				from = n
			case cut > 0, !rotated && s.new.Size == 0:
				from = cut // nothing came, or what is behind it
				twice += unsure
			default:
				gap = gap || s.new.Gap
				for _, hash := range s.new.Before[s.old.Hash] {
					pieces = append(pieces, p.piece(hash, 0))
				}
			}
		}
		e := s.new
		switch {
		case from == e.Size:
			continue
		case e.Stored:
			pieces = append(pieces, p.piece(e.Hash, from))
		case e.Tail != nil && e.Tail.From <= from:
			pieces = append(pieces, p.piece(e.Tail.Hash, from-e.Tail.From))
		default:
			p.say(path, Conflict, "what was added there was not recorded")
			return nil
		}
		size += e.Size - from
	}
	if len(pieces) == 0 {
		return nil
	}
	e := *four.New
	if four.Now != nil {
		e = *four.Now
		here := func() (io.ReadCloser, error) { return p.root.OpenNoFollow(path) }
		if verdict == decide.Append {
			pieces = slices.Insert(pieces, 0, here)
		} else {
			pieces = append(pieces, here)
		}
	}
	e.Mtime, e.Tail, e.Heads, e.Begins, e.Stored = four.New.Mtime, nil, nil, nil, false
	o := &op{kind: opWrite, path: path, entry: &e, open: func() (io.ReadCloser, error) { return chain(pieces) }}
	o.moved = move(&e, &e)
	p.ops = append(p.ops, o)
	item := p.say(path, Merged, fmt.Sprintf("%d bytes added", size))
	if gap {
		item.Reason += "; it was rotated there, and what was written before that was not found"
	}
	if twice > 0 {
		item.Reason += fmt.Sprintf("; it was cut back there, and up to %d bytes of them may be here already", twice)
	}
	return nil
}

func (p *planner) piece(hash string, from int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		f, err := p.store.Open(hash)
		if err != nil {
			return nil, err
		}
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
}

// chain reads one after the other.
func chain(pieces []func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	c := &chained{}
	var readers []io.Reader
	for _, open := range pieces {
		r, err := open()
		if err != nil {
			c.Close()
			return nil, err
		}
		c.open = append(c.open, r)
		readers = append(readers, r)
	}
	c.Reader = io.MultiReader(readers...)
	return c, nil
}

type chained struct {
	io.Reader
	open []io.Closer
}

func (c *chained) Close() error {
	for _, o := range c.open {
		o.Close()
	}
	return nil
}
