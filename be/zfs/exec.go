package zfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	gozfs "github.com/mistifyio/go-zfs/v4"

	"beadm/be"
)

// toolError is a command that failed, with its own words.
type toolError struct {
	argv   string
	stderr string
	err    error
}

func (e *toolError) Error() string {
	words := strings.Join(strings.Fields(e.stderr), " ")
	if words == "" {
		words = e.err.Error()
	}
	return fmt.Sprintf("%s: %s", e.argv, words)
}

func (e *toolError) Unwrap() error { return e.err }

// What zfs and zpool say, as printed by libzfs in the C locale. Anything else
// is an error of no special kind.
var (
	saysMissing = regexp.MustCompile(`(?m)^cannot open '[^']*': (dataset does not exist|no such pool)$|^could not find any snapshots to destroy; check snapshot names\.?$|^cannot destroy '[^']*': (dataset does not exist|snapshot does not exist)$`)
	saysExists  = regexp.MustCompile(`(?m)^cannot (create|clone|rename)[^:]*: dataset already exists|^cannot create snapshots? '?[^:]*: dataset already exists`)
	saysBusy    = regexp.MustCompile(`(?m)(dataset is busy|pool or dataset is busy|filesystem has dependent clones|snapshot has dependent clones|has (children|dependent clones))`)
	saysDenied  = regexp.MustCompile(`(?m)(permission denied|Permission denied|must be superuser|insufficient privileges|Operation not permitted)`)
	saysFull    = regexp.MustCompile(`(?m)(out of space|No space left on device|quota exceeded)`)
)

// kindOf is the kind of error that a command's words stand for.
func kindOf(stderr string) be.Kind {
	switch {
	case saysMissing.MatchString(stderr):
		return be.NotFound
	case saysExists.MatchString(stderr), saysBusy.MatchString(stderr):
		return be.InUse
	case saysFull.MatchString(stderr):
		return be.Undone
	case saysDenied.MatchString(stderr):
		return be.Denied
	}
	return be.Other
}

// problem makes an error a user can act on.
func problem(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	var known *be.Error
	var tool *toolError
	var lost *exec.Error
	kind := be.Other
	switch {
	case errors.As(err, &known):
		return be.E(known.Kind, "%s: %w", what, err)
	case errors.As(err, &tool):
		kind = kindOf(tool.stderr)
	case errors.As(err, &lost) && errors.Is(lost.Err, exec.ErrNotFound):
		return be.E(be.NoStore, "%s: the program %s is not installed", what, lost.Name)
	case errors.Is(err, fs.ErrPermission):
		kind = be.Denied
	case errors.Is(err, syscall.EBUSY):
		kind = be.InUse
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind = be.Undone
	}
	switch kind {
	case be.Undone:
		return be.E(kind, "%s: the pool is full; destroy boot environments or snapshots that are no longer needed (%w)", what, err)
	case be.Denied:
		return be.E(kind, "%s: not permitted; run it as root (%w)", what, err)
	}
	return be.E(kind, "%s: %w", what, err)
}

// output runs a command that only reads.
func (s *Store) output(ctx context.Context, argv ...string) (string, error) {
	var out bytes.Buffer
	err := s.reads(ctx, func(r io.Reader) error {
		_, err := out.ReadFrom(r)
		return err
	}, argv...)
	if err != nil {
		return "", err
	}
	return out.String(), nil
}

// reads runs a command that only reads, and has take read what it says while it
// says it. That the command failed comes before what take makes of its words.
func (s *Store) reads(ctx context.Context, take func(io.Reader) error, argv ...string) error {
	s.debugf("%s", strings.Join(argv, " "))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// Asked to stop first: a zfs that is killed half way through many
	// snapshots stops between two of them as well, but says so.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err = cmd.Start(); err != nil {
		out.Close()
	}
	var taken error
	if err == nil {
		taken = take(out)
		// What is left must not hold it up.
		if _, rest := io.Copy(io.Discard, out); taken == nil {
			taken = rest
		}
		err = cmd.Wait()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		var lost *exec.Error
		if errors.As(err, &lost) {
			return err
		}
		return &toolError{strings.Join(argv, " "), words.String(), err}
	}
	return taken
}

// change runs a command that changes the pool.
func (s *Store) change(ctx context.Context, argv ...string) error {
	s.memory.forget(s.root)
	return s.do(strings.Join(argv, " "), func() error {
		_, err := s.output(ctx, argv...)
		return err
	})
}

// changeTogether runs commands of which none depends on another, several at a
// time, to the end of each, and returns the first error. They are one effect.
func (s *Store) changeTogether(ctx context.Context, commands [][]string) error {
	if len(commands) == 0 {
		return nil
	}
	s.memory.forget(s.root)
	what := strings.Join(commands[0], " ")
	if n := len(commands) - 1; n > 0 {
		what += fmt.Sprintf(", and %d more at once", n)
	}
	return s.do(what, func() error {
		errs := make([]error, len(commands))
		room := make(chan struct{}, atOnce)
		var all sync.WaitGroup
		for i, argv := range commands {
			room <- struct{}{}
			all.Add(1)
			go func() {
				defer all.Done()
				_, errs[i] = s.output(ctx, argv...)
				<-room
			}()
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err // that of the others is the same, or follows from it
			}
		}
		return nil
	})
}

// atOnce is how many programs run at a time.
const atOnce = 16

// do has one effect on the pool or the mount table.
func (s *Store) do(what string, f func() error) error {
	if s.effect != nil {
		if err := s.effect(before, what); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if err := f(); err != nil {
		return err
	}
	if s.effect != nil {
		return s.effect(after, what)
	}
	return nil
}

// library has one effect through go-zfs, which takes no context and reports
// its own kind of error.
func (s *Store) library(ctx context.Context, what string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.memory.forget(s.root)
	return s.do(what, func() error {
		libraryLog.Lock()
		defer libraryLog.Unlock()
		libraryLog.debugf = s.debugf
		err := f()
		var known *gozfs.Error
		if errors.As(err, &known) {
			var lost *exec.Error
			if errors.As(known.Err, &lost) {
				return lost
			}
			return &toolError{known.Debug, known.Stderr, known.Err}
		}
		return err
	})
}

func (s *Store) debugf(format string, args ...any) {
	if s.cfg.Logger != nil {
		s.cfg.Logger.Debugf(format, args...)
	}
}

// libraryLog leads what go-zfs runs to the logger of the store that called.
var libraryLog = &logOfLibrary{}

type logOfLibrary struct {
	sync.Mutex
	debugf func(format string, args ...any)
}

// Log is called with ["ID:…", "START", argv] and ["ID:…", "FINISH"].
func (l *logOfLibrary) Log(words []string) {
	if len(words) == 3 && words[1] == "START" && l.debugf != nil {
		l.debugf("%s", words[2])
	}
}

func init() { gozfs.SetLogger(libraryLog) }

// settled is a context for undoing what another one was cancelled in.
func settled(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
}
