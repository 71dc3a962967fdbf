package activate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"beadm/be"
	copier "beadm/be/copy"
)

// exportPrefix begins the names of snapshots that are exported and then gone.
const exportPrefix = ours + "export-"

// Carried is how far an export or import is.
type Carried struct {
	Name  string
	Files int64 // 0: what is carried is not told by files
	Bytes int64
	Done  bool // for better or worse
}

// Export writes a boot environment with all its subordinates to w, as it is now
// or, if snap is given, as that snapshot has it: in the store's own format, or
// else as an archive. It is one consistent state of it, which changes no more
// while it is written; what is kept for that is gone when Export returns. Nobody
// else can change the target meanwhile.
func (t *Target) Export(ctx context.Context, name, snap string, w io.Writer, progress func(Carried), dryRun bool) (err error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := Allow(s.State, "export", b.UUID); err != nil {
		return err
	}
	if b.Incomplete {
		return be.E(be.InUse, "cannot export %s: it is incomplete; beadm recover or beadm destroy ends that", name)
	}
	what := name
	if snap != "" {
		what = name + "@" + snap
		if err := s.findSnapshot(ctx, name, snap); err != nil {
			return err
		}
	} else {
		if _, err := s.snapshotsOf(ctx, name); err != nil {
			return fmt.Errorf("cannot export %s: %w", name, err)
		}
		if err := s.roomFor(ctx, "export "+name); err != nil {
			return err
		}
	}
	if dryRun {
		s.Report.Would("export " + what)
		return nil
	}
	// This is the one writer: what there is of them, a cut left.
	if err := s.dropSnapshotsNamed(ctx, exportPrefix, ""); err != nil {
		return err
	}
	if snap == "" {
		snap = exportPrefix + be.NewToken()
		s.Report.Step("snapshot " + name)
		if _, err := s.Store.Snapshot(ctx, name, snap); err != nil {
			return err
		}
		defer func() {
			if undo := s.Store.DestroySnapshot(context.WithoutCancel(ctx), name, snap); undo != nil {
				s.Report.Warn("%v: the next export, or recover, takes it away", undo)
			}
		}()
	}
	s.Report.Step("export " + what)
	out := &carrier{name: what, tell: progress, w: w, ctx: ctx}
	defer out.done()
	if streamer, ok := s.Store.(be.Streamer); ok {
		err = streamer.Export(ctx, name, snap, be.About{Name: name, Description: b.Description}, out)
	} else {
		err = s.pack(ctx, b, snap, out)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("cannot export %s: %w", name, ctx.Err())
	}
	if err == nil {
		s.record("export", name, "")
	}
	return err
}

// pack writes an archive of a snapshot.
func (s *Session) pack(ctx context.Context, b be.BE, snap string, out *carrier) (err error) {
	dir := s.path("export")
	if err := s.private(dir); err != nil {
		return err
	}
	if err := s.Store.MountSnapshot(ctx, b.Name, snap, dir); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.Store.UnmountDir(context.WithoutCancel(ctx), dir))
		os.Remove(dir)
	}()
	src, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot export %s: %w", b.Name, err)
	}
	defer src.Close()
	buffer := bufio.NewWriterSize(out, 256<<10)
	_, err = copier.Pack(ctx, src, buffer, copier.Archive{Name: b.Name, Description: b.Description}, copier.Options{Progress: out.files})
	if err == nil {
		err = buffer.Flush()
	}
	if err != nil {
		return fmt.Errorf("cannot export %s: %w", b.Name, err)
	}
	return nil
}

// carrier counts what passes, and gives up when it is told to: whoever is at the
// other end may take nothing more.
type carrier struct {
	name string
	tell func(Carried)
	ctx  context.Context
	w    io.Writer
	r    io.Reader
	at   Carried
	byte bool // what is counted is all that passes
}

func (c *carrier) files(p copier.Progress) {
	c.at.Files, c.at.Bytes, c.byte = p.Files, p.Bytes, true
	c.say()
}

func (c *carrier) passed(n int) {
	if !c.byte {
		c.at.Bytes += int64(n)
		c.say()
	}
}

func (c *carrier) say() {
	if c.at.Name = c.name; c.tell != nil {
		c.tell(c.at)
	}
}

func (c *carrier) done() {
	c.at.Done = true
	c.say()
}

type transferred struct {
	n   int
	err error
}

func (c *carrier) Write(p []byte) (int, error) {
	return c.wait(p, func(own []byte) (int, error) { copy(own, p); return c.w.Write(own) }, nil)
}

func (c *carrier) Read(p []byte) (int, error) {
	return c.wait(p, c.r.Read, func(own []byte) { copy(p, own) })
}

// wait has f work on bytes of its own, which nobody touches if it is not waited
// for.
func (c *carrier) wait(p []byte, f func(own []byte) (int, error), after func(own []byte)) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	own := make([]byte, len(p))
	got := make(chan transferred, 1)
	go func() {
		n, err := f(own)
		got <- transferred{n, err}
	}()
	select {
	case t := <-got:
		if after != nil {
			after(own[:t.n])
		}
		c.passed(t.n)
		return t.n, t.err
	case <-c.ctx.Done():
		return 0, c.ctx.Err()
	}
}
