package left

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"beadm/activate/trees"
)

// rpmProgram is the running system's own.
const rpmProgram = "/usr/bin/rpm"

// rpmPatience is for a database that another rpm has locked: a large system's
// is read in seconds.
var rpmPatience = 5 * time.Minute

var errRPMHangs = errors.New("rpm does not end: is another one at work, or its database locked? See that rpm -qa answers")

// rpmFormat asks for a line a file (rpm-queryformat(7)); "=" repeats what the
// package has once.
const rpmFormat = `[%{=FILEDIGESTALGO} %{FILEFLAGS} %{FILEDIGESTS} %{FILENAMES}\n]`

// readRPM asks rpm, which alone can read its database. Only of the system that
// runs: no program out of another root is run, and no program of ours is given
// another root's database to read.
func (p *packages) readRPM(ctx context.Context) error {
	if !isSystem(p.db.Dir()) {
		return nil
	}
	if _, err := p.db.Stat(rpmProgram); trees.Gone(err) {
		return nil
	}
	return p.askRPM(ctx, rpmProgram)
}

func (p *packages) askRPM(ctx context.Context, program string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, rpmPatience, errRPMHangs)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-qa", "--qf", rpmFormat)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot run %s: %w", program, err)
	}
	// What it started may hold the pipe longer than it lives.
	defer context.AfterFunc(ctx, func() { out.Close() })()
	readErr := p.readRPMFiles(out)
	if readErr != nil {
		cancel() // nobody reads what it still has to say
	}
	err = cmd.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, errRPMHangs) {
		return cause
	}
	if err != nil && readErr == nil {
		return fmt.Errorf("cannot ask rpm which files packages own: %w", err)
	}
	return readErr
}

// isSystem says that dir is the root that this process runs in.
func isSystem(dir string) bool {
	a, err := os.Stat("/")
	if err != nil {
		return false
	}
	b, err := os.Stat(dir)
	return err == nil && os.SameFile(a, b)
}

// File flags (rpm, include/rpm/rpmfiles.h).
const (
	rpmConfig = 1 << 0
	rpmGhost  = 1 << 6 // named by the package and not in it: what a daemon wrote
)

// rpmDigests are by the numbers of OpenPGP (RFC 4880, 9.4), as
// FILEDIGESTALGO has them; of old packages it has none, which is MD5.
var rpmDigests = map[string]func() hash.Hash{
	"(none)": md5.New, "1": md5.New, "8": sha256.New, "9": sha512.New384, "10": sha512.New, "11": sha256.New224,
}

func (p *packages) readRPMFiles(r io.Reader) error {
	return scanLines(r, func(line string) {
		f := strings.SplitN(line, " ", 4)
		if len(f) != 4 || !strings.HasPrefix(f[3], "/") {
			return // of a package without files: "(none)"
		}
		flags, err := strconv.ParseUint(f[1], 10, 32)
		switch {
		case err != nil || flags&rpmGhost != 0:
		case f[2] != "" && (flags&rpmConfig != 0 || mayGrow(f[3])):
			p.conf[f[3]] = digest{rpmDigests[f[0]], f[2]}
		default:
			p.add(f[3])
		}
	})
}
