package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/dir"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write a boot environment as a stream", ArgsUsage: "BE[@SNAP]",
		Description: "To standard output, with all its subordinate datasets, as it is now or as the\nsnapshot has it: on ZFS streams of zfs send, elsewhere an archive (tar).\nbeadm import makes a boot environment of it.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "f", Usage: "write to `FILE`, which is not there yet"},
			dryRun(),
		},
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			name, snap, isSnap := be.SplitSnapshot(a[0])
			if err := be.CheckName(name); err != nil {
				return err
			}
			if isSnap && snap == "" {
				return be.E(be.Usage, "%q names no snapshot: give BE@SNAP, or BE for what it is now", a[0])
			}
			out := heard(c.App.Writer)
			switch {
			case c.IsSet("f") && c.String("f") == "":
				return be.E(be.Usage, "-f is empty: name a file")
			case c.Bool("dry-run"), c.IsSet("f"):
			case c.Bool("json"):
				return be.E(be.Usage, "the stream is what is printed: with --json give -f FILE for it")
			case isTerminal(out):
				return be.E(be.Usage, "a stream is not for a terminal: redirect it to a file or a program, or give -f FILE")
			}
			if path := c.String("f"); path != "" {
				if _, err := os.Lstat(path); err == nil {
					return taken(path)
				}
			}
			return change(c, name, func(t *activate.Target, _ *outcome) error {
				if !c.IsSet("f") || c.Bool("dry-run") {
					return t.Export(c.Context, name, snap, out, showCarried(), c.Bool("dry-run"))
				}
				file, end, err := wholeFile(c.String("f"))
				if err != nil {
					return err
				}
				return end(t.Export(c.Context, name, snap, file, showCarried(), false))
			})
		},
	}
}

func importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "make a boot environment of a stream, an archive, a directory or an image", ArgsUsage: "BE",
		Description: "From standard input: what beadm export or bectl export wrote, or any tar, as it\nis or compressed by gzip, xz, zstd or bzip2. If it is cut off or damaged,\nnothing is left.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "f", Usage: "read `FROM`, which may also be a directory, or the image of a file system or a disk"},
			&cli.StringFlag{Name: "d", Usage: "describe it as `TEXT`, not as the stream does"},
			&cli.StringSliceFlag{Name: "o", Usage: "set the property `P=V` on its root"},
			dryRun(),
		},
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			if err := be.CheckName(a[0]); err != nil {
				return err
			}
			opts := activate.ImportOptions{From: c.String("f"), Description: c.String("d"), Properties: c.StringSlice("o"), Progress: showCarried(), DryRun: c.Bool("dry-run")}
			if c.IsSet("f") && opts.From == "" {
				return be.E(be.Usage, "-f is empty: name a file or a directory")
			}
			if opts.From == "" && !opts.DryRun {
				in, ok := c.App.Reader.(*os.File)
				if !ok || isTerminal(in) {
					return be.E(be.Usage, "a stream does not come from a terminal: redirect standard input, or give -f FROM")
				}
				opts.In = in
			}
			return change(c, a[0], func(t *activate.Target, _ *outcome) error {
				_, err := t.Import(c.Context, a[0], opts)
				return err
			})
		},
	}
}

// transferGuests keeps several guests from one stream.
func transferGuests(c *cli.Context, list []guest.Guest, rest cli.ActionFunc) error {
	if len(list) > 1 && !(c.Command.Name == "import" && c.IsSet("f")) && !c.Bool("dry-run") {
		return be.E(be.Usage, "a stream is of one guest, and -g names %d: name one, or, to import one thing into all, give it with -f", len(list))
	}
	return eachGuest(c, list, rest)
}

// heard is an output whose reader is missed when it goes away, and that gets
// nothing but what is written to it.
func heard(w io.Writer) io.Writer {
	switch w := w.(type) {
	case heardOrNot:
		return w.Writer
	case *titled:
		return heard(w.w)
	}
	return w
}

func isTerminal(w any) bool {
	f, is := w.(*os.File)
	return is && term.IsTerminal(int(f.Fd()))
}

// showCarried is nil where there is no terminal to show it on.
func showCarried() func(activate.Carried) {
	show := showCopies(os.Stderr)
	if show == nil {
		return nil
	}
	return func(c activate.Carried) {
		show(dir.Progress{Name: c.Name, Files: c.Files, Bytes: c.Bytes, Done: c.Done})
	}
}

func taken(path string) error {
	return be.E(be.InUse, "%s exists already: name another file", path)
}

// wholeFile is a new file that has its name when all of it is on the disk, which
// end sees to; end returns what it is given, or its own error.
func wholeFile(path string) (out io.Writer, end func(error) error, err error) {
	cannot := func(err error) error {
		if errors.Is(err, fs.ErrExist) {
			return taken(path)
		}
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".beadm-export-")
	if err != nil {
		return nil, nil, cannot(err)
	}
	return f, func(err error) error {
		defer f.Close()
		defer os.Remove(f.Name())
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return cannot(err)
		}
		// A link replaces nothing.
		if err := os.Link(f.Name(), path); err != nil {
			return cannot(err)
		}
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return cannot(err)
		}
		defer dir.Close()
		if err := dir.Sync(); err != nil {
			return cannot(err)
		}
		return nil
	}, nil
}
