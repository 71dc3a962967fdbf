package zfs

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"beadm/be"
)

// CreateFilled mounts the new file system for fill where nobody else looks.
func (s *Store) CreateFilled(ctx context.Context, opts be.CreateOptions, fill func(context.Context, be.Filling) error) (be.BE, error) {
	b, err := s.filled(ctx, opts, fill, func(settings []setting, top string) ([]setting, error) {
		return nil, s.change(ctx, withSettings([]string{"zfs", "create"}, settings, top)...)
	})
	if err != nil {
		return be.BE{}, problem(err, "cannot create boot environment %s", opts.Name)
	}
	return b, nil
}

// Import receives the streams one by one, each by a zfs receive of its own that
// mounts nothing and is told what the file system's canmount is.
func (s *Store) Import(ctx context.Context, opts be.CreateOptions, r io.Reader, fill func(context.Context, be.Filling) error) (be.BE, be.About, error) {
	var about be.About
	b, err := s.filled(ctx, opts, fill, func(settings []setting, top string) ([]setting, error) {
		list, late, err := s.receive(ctx, bufio.NewReaderSize(r, 256<<10), settings, top)
		about = be.About{Name: list.Name, Description: list.Description, Bare: err == nil && list.Version == 0}
		if opts.Description == "" && list.Description != "" {
			late = append(late, setting{propDescription, escape(list.Description)})
		}
		return late, err
	})
	if err != nil {
		return be.BE{}, about, problem(err, "cannot import boot environment %s", opts.Name)
	}
	return b, about, nil
}

// filled has bring make the file systems of a new boot environment, the first with
// the settings that it is given, and fill go over them. What bring returns is set
// last of all.
func (s *Store) filled(ctx context.Context, opts be.CreateOptions, fill func(context.Context, be.Filling) error, bring func(settings []setting, top string) (late []setting, err error)) (b be.BE, err error) {
	if opts.From != "" {
		return b, be.E(be.Usage, "what is filled is no clone")
	}
	_, given, marks, err := s.begin(ctx, opts)
	if err != nil {
		return b, err
	}
	top := s.dataset(opts.Name)
	defer func() {
		if err == nil {
			return
		}
		undoing, cancel := settled(ctx)
		defer cancel()
		if undo := s.undoCreate(undoing, top, cloned{}); undo != nil {
			err = be.E(be.Recovery, "%w; and undoing it failed: %w; destroy %s to finish", err, undo, opts.Name)
		}
	}()
	var sealed []setting // when nothing is written to it any more
	given = slices.DeleteFunc(given, func(p setting) bool {
		if p.name == "readonly" {
			sealed = append(sealed, p)
		}
		return p.name == "readonly"
	})
	late, err := bring(merge([]setting{{"canmount", "noauto"}, {"mountpoint", "/"}}, given, marks), top)
	if err != nil {
		return b, err
	}
	late = merge(late, sealed)
	if fill != nil {
		if err := s.fill(ctx, top, fill); err != nil {
			return b, err
		}
	}
	if len(late) > 0 {
		if err := s.set(ctx, top, late...); err != nil {
			return b, err
		}
	}
	if err := s.change(ctx, "zfs", "inherit", propIncomplete, top); err != nil {
		return b, err
	}
	return s.listed(ctx, opts.Name)
}

const fillPrefix = "beadm-fill-"

// unfill takes away the mounts of a fill that died. Nobody else mounts what is
// incomplete.
func (s *Store) unfill(ctx context.Context, t *tree, top string) error {
	if d := t.by[top]; d == nil || d.local(propIncomplete) != "create" {
		return nil
	}
	table, err := readMounts()
	if err != nil {
		return err
	}
	for _, m := range table.of(top) {
		hidden := path.Dir(m.dir)
		if !strings.HasPrefix(path.Base(hidden), fillPrefix) {
			continue
		}
		if err := s.unmountTree(ctx, m.dir, false); err != nil {
			return err
		}
		os.Remove(m.dir)
		os.Remove(hidden)
	}
	return nil
}

// fill has the new boot environment mounted while it is called.
func (s *Store) fill(ctx context.Context, top string, fill func(context.Context, be.Filling) error) (err error) {
	// What is mounted has a mode of its own: root's alone is the directory above.
	hidden, err := os.MkdirTemp("", fillPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(hidden)
	dir := path.Join(hidden, "root")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.Remove(dir)
	t, err := s.read(ctx, "filesystem", -1, top, mountProperties...)
	if err != nil {
		return err
	}
	if t.by[top] == nil {
		return be.E(be.NotFound, "%s is gone", top)
	}
	if err := s.mountSpots(ctx, t, top, "", dir, false); err != nil {
		return err
	}
	defer func() {
		undoing, cancel := settled(ctx)
		defer cancel()
		err = errors.Join(err, s.unmountTree(undoing, dir, false))
	}()
	var failed error
	err = s.do("fill "+top, func() error {
		failed = fill(ctx, be.Filling{Dir: dir, Ref: be.RootRef{
			FS: "zfs", Label: s.pool, Prefix: strings.TrimPrefix(top, s.pool) + "@", Args: []string{"root=ZFS=" + top},
		}})
		return nil
	})
	return errors.Join(failed, err)
}

// receive makes the file systems that are in r, and says what they are and what
// is to be set of the root when nothing is written to it any more.
func (s *Store) receive(ctx context.Context, r *bufio.Reader, settings []setting, top string) (list exported, late []setting, err error) {
	first, snap, said := "", "", false
	var have []string // below top
	for {
		if head, _ := r.Peek(len(exportLine)); len(have) > 0 && string(head) == exportLine {
			// As it is: it is longer than any buffer.
			line, err := r.ReadString('\n')
			if err != nil && err != io.EOF {
				return list, nil, err
			}
			if list, err = parseExported(line); err != nil {
				return list, nil, err
			}
			if _, err := r.ReadByte(); err != io.EOF {
				return list, nil, errors.New("the stream is damaged: something stands behind its end")
			}
			said = true
			break
		}
		b, err := readBegin(r)
		if err == io.EOF && len(have) > 0 {
			break
		}
		if err == io.EOF {
			return list, nil, errCutOff
		}
		if err != nil {
			return list, nil, err
		}
		ds, of, _ := strings.Cut(b.name, "@")
		rel := ""
		if len(have) == 0 {
			first, snap = ds, of
		} else if rel = strings.TrimPrefix(ds, first); !strings.HasPrefix(rel, "/") || !strings.HasPrefix(ds, first) || of != snap || path.Clean(rel) != rel {
			return list, nil, be.E(be.Undone, "the stream is damaged: %q is not below %s", b.name, first)
		}
		if !datasetRule.MatchString(top + rel) {
			return list, nil, be.E(be.Undone, "the stream is damaged: %q is no name of a file system", b.name)
		}
		argv := []string{"zfs", "receive", "-u"}
		if rel == "" {
			argv = withSettings(argv, settings)
		} else {
			argv = withSettings(argv, []setting{{"canmount", "noauto"}})
		}
		if err := s.receiveOne(ctx, b, r, append(argv, top+rel)...); err != nil {
			return list, nil, err
		}
		have = append(have, rel)
	}
	if !said {
		if strings.HasPrefix(snap, autoExport) {
			return list, nil, errCutOff
		}
	} else if late, err = s.imported(ctx, list, have, settings, top); err != nil {
		return list, nil, err
	}
	// Nobody asked for it.
	return list, late, s.dropReceived(ctx, top)
}

// receiveOne gives one stream to zfs receive.
func (s *Store) receiveOne(ctx context.Context, b *begin, r *bufio.Reader, argv ...string) error {
	s.memory.forget(s.root)
	return s.do(strings.Join(argv, " "), func() error {
		in, feed := io.Pipe()
		fed := make(chan error, 1)
		go func() {
			err := b.copyTo(ctx, r, feed)
			feed.CloseWithError(err)
			fed <- err
		}()
		err := s.stream(ctx, in, nil, argv...)
		in.CloseWithError(io.ErrClosedPipe) // it may have had enough
		if lost := <-fed; lost != nil && !errors.Is(lost, io.ErrClosedPipe) && ctx.Err() == nil {
			return lost // zfs says less of it
		}
		return err
	})
}

// imported sets what the file systems had of their own. What the root was made
// with stays as it is.
func (s *Store) imported(ctx context.Context, list exported, have []string, made []setting, top string) (late []setting, err error) {
	if len(list.Datasets) != len(have) {
		return nil, errors.New("the stream is damaged: it holds other file systems than it says")
	}
	for i, part := range list.Datasets {
		if part.Path != have[i] {
			return nil, errors.New("the stream is damaged: it holds other file systems than it says")
		}
		settings, err := part.importSettings()
		if err != nil {
			return nil, err
		}
		if part.Path == "" {
			settings = slices.DeleteFunc(settings, func(p setting) bool {
				return slices.ContainsFunc(made, func(m setting) bool { return m.name == p.name })
			})
			settings = slices.DeleteFunc(settings, func(p setting) bool {
				if p.name == "readonly" {
					late = append(late, p)
				}
				return p.name == "readonly"
			})
		}
		if len(settings) == 0 {
			continue
		}
		if err := s.set(ctx, top+part.Path, settings...); err != nil {
			return nil, err
		}
	}
	return late, nil
}

// dropReceived destroys the snapshots that came with the streams.
func (s *Store) dropReceived(ctx context.Context, top string) error {
	t, err := s.read(ctx, "snapshot", 1, top, "type")
	if err != nil {
		return err
	}
	for _, name := range t.names {
		if strings.HasPrefix(name, top+"@") {
			if err := s.change(ctx, "zfs", "destroy", "-r", name); err != nil {
				return err
			}
		}
	}
	return nil
}
