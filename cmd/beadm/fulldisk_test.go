//go:build linux

package main

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallFiles writes files that btrfs keeps in its metadata until there is no
// room for another.
func (m *machine) smallFiles(dir string) {
	m.t.Helper()
	noise := make([]byte, 2000)
	rand.Read(noise)
	for i := 0; ; i++ {
		err := os.WriteFile(filepath.Join(dir, fmt.Sprint("small", i)), noise, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		check(m.t, err)
	}
}

// brimful writes into the running root until not a byte goes in any more.
func (m *machine) brimful(metadataToo bool) {
	m.t.Helper()
	dir := filepath.Join(m.root, "var/tmp/fill")
	check(m.t, os.MkdirAll(dir, 0o755))
	f, err := os.Create(filepath.Join(dir, "data"))
	check(m.t, err)
	defer f.Close()
	if metadataToo {
		// Else half of the device becomes metadata.
		check(m.t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 1<<30, 190<<20))
		m.smallFiles(dir)
	}
	noise := make([]byte, 4<<20)
	rand.Read(noise)
	for size := len(noise); size >= 4096; {
		_, err := f.Write(noise[:size])
		if serr := unix.Syncfs(int(f.Fd())); err == nil {
			err = serr
		}
		if errors.Is(err, unix.ENOSPC) {
			size /= 2
			continue
		}
		check(m.t, err)
	}
	m.smallFiles(dir)
}

// TestImportOfTooMuch: the disk is full in the middle of it, and all of it goes.
func TestImportOfTooMuch(t *testing.T) {
	m := newMachine(t)
	const size = 400 << 20
	before := m.snapshotWorld()
	in, out := io.Pipe()
	go func() {
		w := tar.NewWriter(out)
		w.WriteHeader(&tar.Header{Name: "etc/big", Typeflag: tar.TypeReg, Mode: 0o644, Size: size})
		io.CopyN(w, rand.Reader, size)
		out.CloseWithError(w.Close())
	}()
	cmd := exec.Command(m.beadm, "--root", m.root, "import", "x")
	cmd.Stdin = in
	r := start(t, cmd)
	in.Close()
	if r.code != 12 || !strings.Contains(r.err, "full") || strings.Count(r.err, "\n") != 1 {
		t.Error(r)
	}
	if now := m.snapshotWorld(); now != before {
		t.Errorf("it left\n%s", differ(before, now))
	}
	m.ok("create", "x") // its space comes back
}

// TestBrimful: where nothing can be made, what is old can be destroyed, and
// its space is there for the next command.
func TestBrimful(t *testing.T) {
	for name, metadataToo := range map[string]bool{"data": false, "metadata": true} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			noise := make([]byte, 80<<20)
			rand.Read(noise)
			big := filepath.Join(m.root, "usr/lib/big")
			check(t, os.WriteFile(big, noise, 0o644))
			m.ok("create", "old")
			check(t, os.Remove(big)) // now old's alone
			m.ok("create", "new")
			m.brimful(metadataToo)
			for _, args := range [][]string{{"snapshot", "new@s"}, {"snapshot", "-n", "new@s"}, {"import", "-f", m.loader, "x"}, {"import", "-n", "-f", m.loader, "x"}, {"create", "-e", "new", "x"}, {"create", "--empty", "x"}, {"create", "-t", "x"},
				{"upgrade", "x", "--", "/bin/true"}, {"create", "x"}, {"create", "-n", "x"}, {"activate", "new"}, {"activate", "-n", "new"}, {"activate", "--permanent", "new"}} {
				m.refused(12, " has 0 MiB free and 64 are needed; nothing was changed", args...)
			}
			m.ok("list")
			m.is("idle", "debian", "debian")
			// What takes next to nothing is done, or not at all.
			for _, args := range [][]string{{"describe", "new", "text"}, {"prune", "--pin", "new"}, {"prune", "--unpin", "new"}} {
				was := m.snapshotWorld()
				switch r := m.run(args...); {
				case r.code == 0:
				case r.code != 12 || strings.Count(r.err, "\n") != 1:
					t.Error(r)
				default:
					// The reserve is there to be given up.
					if changed := differ(was, m.snapshotWorld()); changed != "" && (strings.Contains(changed, "\n") || !strings.Contains(changed, "/reserve ")) {
						t.Errorf("%v, and it changed\n%s", r, changed)
					}
				}
			}
			before := m.snapshotWorld()
			m.ok("destroy", "-n", "old")
			if after := m.snapshotWorld(); after != before {
				t.Errorf("a dry run changed\n%s", differ(before, after))
			}
			m.ok("destroy", "-F", "old")
			m.refused(3, "there is no boot environment old", "destroy", "-F", "old")
			m.is("idle", "debian", "debian")
			if metadataToo {
				// What was freed is data; for the rest somebody has to remove
				// files.
				check(t, os.RemoveAll(filepath.Join(m.root, "var/tmp/fill")))
			}
			m.ok("create", "next")
			m.ok("activate", "new")
			m.is("armed", "debian", "debian")
		})
	}
}
