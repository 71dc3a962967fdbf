package sdboot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/be"
	"beadm/be/rooted"
)

// files are the names in beadm/kernels of what an entry starts.
type files struct{ kernel, initrd string }

// loaderPath is the path on the ESP.
func (files) loaderPath(name string) string { return "/beadm/kernels/" + name }

// sumLength is how much of a sha256 is in a name: 128 bits, so that the
// initrd= that systemd-boot puts on the command line stays short.
const sumLength = 32

// slack is what else may be written to the ESP beside a kernel, with the
// rounding to clusters.
const slack = 1 << 20

// source is a file of the boot environment, open.
type source struct {
	f    *os.File
	name string // in beadm/kernels
	sum  string
	size int64
}

// sources are a kernel and its initrd.
type sources [2]source

func (s sources) files() files { return files{s[0].name, s[1].name} }

func (s sources) close() {
	for _, one := range s {
		if one.f != nil {
			one.f.Close()
		}
	}
}

// openSources reads the kernel and the initrd of e once, for their sums.
func openSources(ctx context.Context, e boot.Entry) (s sources, err error) {
	root, err := rooted.Open(e.Dir)
	if err != nil {
		return s, be.E(be.Unbootable, "cannot read the kernel of %s: %w", e.ID, err)
	}
	defer root.Close()
	for i, want := range [2]struct{ what, path string }{{"linux", e.Kernel}, {"initrd", e.Initrd}} {
		if err := ctx.Err(); err != nil {
			s.close()
			return sources{}, err
		}
		if s[i], err = openSource(root, want.what, want.path); err != nil {
			s.close()
			return sources{}, be.E(be.Unbootable, "cannot read the %s of %s: %w", want.what, e.ID, err)
		}
	}
	return s, nil
}

// bringFiles puts the kernel and the initrd of id where systemd-boot reads
// them. Nothing is copied if there is no room for all of it.
func (l *Loader) bringFiles(id string, all sources) error {
	// What a run that was cut brought and nothing names yet would take the room
	// of what is wanted now. What is wanted may be among it.
	if err := l.cfg.Disk.Sweep(l.path("kernels")); err != nil {
		return be.E(be.Other, "cannot tidy %s: %w", l.path("kernels"), err)
	}
	if err := l.dropFiles(all[0].name, all[1].name); err != nil {
		return err
	}
	var missing []source
	var need int64
	for _, s := range all {
		if have, err := durable.Sum(l.kernelPath(s.name)); err == nil && have == s.sum {
			continue
		}
		missing = append(missing, s)
		need += s.size + slack
	}
	if len(missing) == 0 {
		// They may be there from a run that was cut before they were settled.
		return l.cfg.Disk.Sync(l.dir)
	}
	free, err := l.cfg.Free(l.dir)
	if err != nil {
		return be.E(be.Other, "cannot see how much room %s has: %w", l.dir, err)
	}
	if free < need {
		return be.E(be.Unbootable, "the ESP has no room for the kernel of %s: it needs %d MiB and %d MiB are free; destroy a boot environment that has another kernel, or make the ESP larger", id, (need+1<<20-1)>>20, free>>20)
	}
	for _, s := range missing {
		if _, err := s.f.Seek(0, io.SeekStart); err != nil {
			return be.E(be.Unbootable, "cannot read the kernel of %s: %w", id, err)
		}
		if err := l.cfg.Disk.CopyIn(l.kernelPath(s.name), s.f, s.sum); err != nil {
			return be.E(be.Unbootable, "cannot copy the kernel of %s to the ESP: %w", id, err)
		}
	}
	return nil
}

func (l *Loader) kernelPath(name string) string { return filepath.Join(l.path("kernels"), name) }

func openSource(root *rooted.Root, what, path string) (source, error) {
	if !strings.HasPrefix(path, "/") {
		return source{}, fmt.Errorf("%q is no absolute path", path)
	}
	f, err := root.OpenNoFollow(path)
	if err != nil {
		return source{}, err
	}
	h := sha256.New()
	head := make([]byte, 2)
	n, err := io.ReadFull(f, head)
	h.Write(head[:n])
	var size int64
	if err == nil {
		size, err = io.Copy(h, f)
	}
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		err = fmt.Errorf("%s is empty", path)
	case err == nil && what == "linux" && string(head) != "MZ":
		// Linux, Documentation/admin-guide/efi-stub.rst: it is a PE/COFF image.
		err = fmt.Errorf("%s is no kernel that UEFI can start", path)
	}
	if err != nil {
		f.Close()
		return source{}, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	return source{f: f, name: what + "-" + sum[:sumLength], sum: sum, size: size + int64(n)}, nil
}

// fileLine is what entryText writes of a kernel or an initrd.
var fileLine = regexp.MustCompile(`(?m)^(?:linux|initrd) (.*)$`)

// wholeFiles says why what entries of ours name cannot be started.
func (l *Loader) wholeFiles(texts []byte) error {
	seen := map[string]bool{}
	for _, line := range fileLine.FindAllSubmatch(texts, -1) {
		name, ok := strings.CutPrefix(string(line[1]), files{}.loaderPath(""))
		if !ok || strings.Contains(name, "/") {
			return fmt.Errorf("the entry names %q, which is no file of ours", line[1])
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		sum, err := durable.Sum(l.kernelPath(name))
		if err != nil {
			return err
		}
		if _, want, _ := strings.Cut(name, "-"); len(want) != sumLength || !strings.HasPrefix(sum, want) {
			return fmt.Errorf("%s is damaged", l.kernelPath(name))
		}
	}
	if len(seen) < 2 {
		return errors.New("the entry names no kernel or no initrd")
	}
	return nil
}

// dropFiles removes kernels and initrds that nothing names: no entry, ours or
// another's, nor keep. If one cannot be read, all stay.
func (l *Loader) dropFiles(keep ...string) error {
	var texts [][]byte
	for _, dir := range []string{l.entriesDir(), l.path("trials")} {
		list, err := os.ReadDir(dir)
		if err != nil {
			return nil
		}
		for _, e := range list {
			if e.IsDir() {
				continue
			}
			b, err := durable.Read(filepath.Join(dir, e.Name()), maxFile)
			if err != nil {
				return nil
			}
			texts = append(texts, b)
		}
	}
	list, err := os.ReadDir(l.path("kernels"))
	if err != nil {
		return nil
	}
	for _, e := range list {
		named := slices.Contains(keep, e.Name())
		for _, text := range texts {
			named = named || bytes.Contains(text, []byte(e.Name()))
		}
		if named || !e.Type().IsRegular() {
			continue
		}
		if err := l.cfg.Disk.Remove(l.kernelPath(e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return be.E(be.Other, "cannot remove a kernel that nothing starts: %w", err)
		}
	}
	return nil
}
