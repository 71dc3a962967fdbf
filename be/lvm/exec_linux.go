package lvm

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
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

const (
	before = "before"
	after  = "after"
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

// What LVM's commands say in the C locale. Anything else is an error of no
// special kind.
var (
	saysNoGroup = regexp.MustCompile(`(?m)^\s*Volume group "[^"]*" not found`)
	saysMissing = regexp.MustCompile(`(?m)^\s*Failed to find logical volume "[^"]*"|^\s*Existing logical volume "[^"]*" not found`)
	saysExists  = regexp.MustCompile(`(?m)Logical [Vv]olume "[^"]*" already exists in volume group`)
	saysBusy    = regexp.MustCompile(`(?m)Logical volume \S+ (in use|contains a filesystem in use|is used by another device)`)
	saysDenied  = regexp.MustCompile(`(?m)(Permission denied|Running as a non-root user|Operation not permitted)`)
	saysFull    = regexp.MustCompile(`(?m)(reached threshold|insufficient (free space|suitable)|No space left on device|out of (data|metadata) space)`)
)

func kindOf(stderr string) be.Kind {
	switch {
	case saysNoGroup.MatchString(stderr):
		return be.NoStore
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
		return be.E(be.Undone, "%s: its file system is full (%w)", what, err)
	}
	switch kind {
	case be.Undone:
		return be.E(kind, "%s: the thin pool is full; destroy boot environments or snapshots that are no longer needed, or enlarge it with lvextend (%w)", what, err)
	case be.Denied:
		return be.E(kind, "%s: not permitted; run it as root (%w)", what, err)
	}
	return be.E(kind, "%s: %w", what, err)
}

// findTools makes sure that LVM's commands are found where the environment is
// that of a daemon or of the first process.
func findTools() {
	if _, err := exec.LookPath("lvs"); err != nil {
		os.Setenv("PATH", strings.Trim(os.Getenv("PATH")+":/usr/sbin:/sbin:/usr/bin:/bin", ":"))
	}
}

// noUdev is what LVM is told where no udev runs, as at the earliest moment of a
// boot: it would wait for it for ever. Nor is anything to be left running then
// that watches the pool; the system starts that itself.
const noUdev = "devices{obtain_device_list_from_udev=0} activation{udev_sync=0 udev_rules=0 monitoring=0}"

// noBackup is what LVM is told where the root is mounted read-only: it would
// change nothing of which it cannot keep the state before in /etc/lvm/archive.
const noBackup = "backup{backup=0 archive=0}"

// mountedReadOnly says whether nothing can be written at dir.
func mountedReadOnly(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

const udevSocket = "/run/udev/control"

// answers says whether somebody listens at a socket of udevd's kind. The one of
// the initramfs may have left it behind when it ended: LVM, which looks whether
// it is there, would wait for that one.
func answers(socket string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	return err == nil || errors.Is(err, unix.EAGAIN) // it has much to do
}

// withConfig puts settings behind the command's name.
func withConfig(argv []string, settings string) []string {
	if !answers(udevSocket) {
		settings = strings.TrimSpace(settings + " " + noUdev)
	}
	if mountedReadOnly("/etc") {
		settings = strings.TrimSpace(settings + " " + noBackup)
	}
	if settings == "" {
		return argv
	}
	return append([]string{argv[0], "--config", settings}, argv[1:]...)
}

// output runs a program that only reads, or that change leads.
func (s *Store) output(ctx context.Context, argv ...string) (string, error) {
	var out bytes.Buffer
	cmd, words := s.command(ctx, argv)
	cmd.Stdout = &out
	err := cmd.Run()
	return out.String(), failed(ctx, argv, words, err)
}

// read runs a program that only reads and hands what it writes to f, which reads
// until the end.
func (s *Store) read(ctx context.Context, f func(io.Reader) error, argv ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, words := s.command(ctx, argv)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return failed(ctx, argv, words, err)
	}
	readErr := f(out)
	if readErr != nil {
		cancel() // it may still want to write
	}
	if err := cmd.Wait(); err != nil && (readErr == nil || words.Len() > 0) {
		return failed(ctx, argv, words, err)
	}
	return readErr
}

// command is a program in the C locale, and its words.
func (s *Store) command(ctx context.Context, argv []string) (*exec.Cmd, *bytes.Buffer) {
	s.debugf("%s", strings.Join(argv, " "))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	// Asked to stop first: LVM ends what it began with the metadata.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	words := new(bytes.Buffer)
	cmd.Stderr = words
	return cmd, words
}

// failed is the error of a program, nil if there is none.
func failed(ctx context.Context, argv []string, words *bytes.Buffer, err error) error {
	var lost *exec.Error
	if err == nil || errors.As(err, &lost) {
		return err
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return &toolError{strings.Join(argv, " "), words.String(), err}
}

// change runs a command of LVM that changes something.
func (s *Store) change(ctx context.Context, argv ...string) error {
	return s.do(strings.Join(argv, " "), func() error {
		_, err := s.output(ctx, withConfig(argv, "")...)
		return err
	})
}

// do has one effect on the volume group, a file system or the mount table.
func (s *Store) do(what string, f func() error) error {
	s.known, s.knownSharing = nil, nil
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

func (s *Store) debugf(format string, args ...any) {
	if s.cfg.Logger != nil {
		s.cfg.Logger.Debugf(format, args...)
	}
}

// settled is a context for undoing what another one was cancelled in.
func settled(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
}
