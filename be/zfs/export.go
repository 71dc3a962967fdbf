package zfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"beadm/be"
)

// An export is the stream of zfs send of the root, which bectl import and zfs
// receive read, then those of its subordinates, then one line that says what was
// sent: exportLine, the SHA-256 of the JSON behind it, and that.
const exportLine = "beadm-export zfs "

// autoExport begins the names of snapshots behind whose streams that line must
// stand.
const autoExport = "beadm-export-"

type exported struct {
	Version     int            `json:"version"`
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Datasets    []exportedPart `json:"datasets"` // in the order of their streams
}

type exportedPart struct {
	Path       string            `json:"path"` // below the root: "" or /var/lib
	CanMount   string            `json:"canmount"`
	Properties map[string]string `json:"properties,omitempty"` // local ones
}

const exportVersion = 1

// Export writes the snapshot of every file system that had one.
func (s *Store) Export(ctx context.Context, name, snap string, about be.About, w io.Writer) error {
	return problem(s.export(ctx, name, snap, about, w), "cannot export boot environment %s", name)
}

func (s *Store) export(ctx context.Context, name, snap string, about be.About, w io.Writer) error {
	t, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	top := s.dataset(name)
	if holder := t.by[top].local(propBoot); holder != "" {
		return be.E(be.Unbootable, "its /boot is in %s, of another pool, and would not be in the stream; send both by hand, %s and what zfs get -r %s %s names, with zfs send", holder, top, propOf, holder)
	}
	if t.by[top+"@"+snap] == nil {
		return be.E(be.NotFound, "there is no snapshot %s@%s; see beadm list -s", name, snap)
	}
	settings, err := s.localSettings(ctx, top)
	if err != nil {
		return err
	}
	altroot, err := s.altroot(ctx, s.pool)
	if err != nil {
		return err
	}
	list := exported{Version: exportVersion, Name: about.Name, Description: about.Description}
	for _, d := range t.parts(top) {
		if t.by[d.name+"@"+snap] == nil {
			continue // younger than the snapshot
		}
		if err := s.send(ctx, d.name+"@"+snap, w); err != nil {
			return err
		}
		part := exportedPart{Path: strings.TrimPrefix(d.name, top), Properties: map[string]string{}}
		for _, p := range cloneSettings(settings[d.name], d.value("canmount"), altroot) {
			if p.name == "canmount" {
				part.CanMount = p.value
				continue
			}
			part.Properties[p.name] = p.value
		}
		list.Datasets = append(list.Datasets, part)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s %s\n", exportLine, sumOf(text), text)
	return err
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// send runs zfs send of one snapshot, with its blocks compressed as they are.
func (s *Store) send(ctx context.Context, snap string, w io.Writer) error {
	return s.stream(ctx, nil, w, "zfs", "send", "-c", snap)
}

// stream runs a command that reads or writes a stream.
func (s *Store) stream(ctx context.Context, in io.Reader, out io.Writer, argv ...string) error {
	s.debugf("%s", strings.Join(argv, " "))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var words bytes.Buffer
	lost := &output{w: out}
	cmd.Stdin, cmd.Stderr = in, &words
	if out != nil {
		cmd.Stdout = lost
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if lost.err != nil { // nobody reads it any more
		return fmt.Errorf("cannot write the stream: %w", lost.err)
	}
	var missing *exec.Error
	if err == nil || errors.As(err, &missing) {
		return err
	}
	return &toolError{strings.Join(argv, " "), words.String(), err}
}

// Write is for a command's output.
func (o *output) Write(p []byte) (int, error) {
	o.write(p)
	if o.err != nil {
		return 0, o.err
	}
	return len(p), nil
}

// parseExported reads the line behind the streams.
func parseExported(line string) (exported, error) {
	var list exported
	rest, is := strings.CutPrefix(line, exportLine)
	sum, text, ok := strings.Cut(strings.TrimSuffix(rest, "\n"), " ")
	if !strings.HasSuffix(line, "\n") {
		return list, errCutOff
	}
	if !is || !ok || sum != sumOf([]byte(text)) {
		return list, errors.New("the stream is damaged: what is behind its file systems")
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return list, fmt.Errorf("the stream is damaged: %w", err)
	}
	if list.Version != exportVersion {
		return list, fmt.Errorf("its format is version %d, and version %d is all that is known here", list.Version, exportVersion)
	}
	return list, nil
}

// importSettings are the properties of an export that are set where it is
// imported: none that has a file system shared with others, none that is
// beadm's own, and of canmount only that a file system is never mounted.
func (p exportedPart) importSettings() ([]setting, error) {
	var list []setting
	for name, value := range p.Properties {
		if !propertyRule.MatchString(name) {
			return nil, fmt.Errorf("the stream is damaged: there is no property %q", name)
		}
		// A line of zfs get is one property (parseGet).
		if strings.ContainsFunc(value, unicode.IsControl) {
			return nil, fmt.Errorf("the stream is damaged: the property %s is no text", name)
		}
		list = append(list, setting{name, value})
	}
	list = slices.DeleteFunc(list, func(p setting) bool {
		return slices.Contains(notImported, p.name) || strings.HasPrefix(p.name, "org.openzfs.systemd:") || strings.HasPrefix(p.name, "org.opensolaris.libbe:")
	})
	if p.Path != "" { // zfs-mount-generator(8) makes a unit of noauto, too
		list = append(list, setting{"org.openzfs.systemd:ignore", "on"})
	}
	canmount := "noauto"
	if p.CanMount == "off" && p.Path != "" {
		canmount = "off"
	}
	return merge(cloneSettings(list, canmount, "")), nil
}

// notImported are for the system that a file system came from, or take room that
// there may not be.
var notImported = []string{"sharenfs", "sharesmb", "zoned", "jailed", "reservation", "refreservation"}

// propertyRule: none of them could be an option of zfs.
var propertyRule = regexp.MustCompile(`^[a-z][a-z0-9:._-]*$`)
