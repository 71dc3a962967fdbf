package zfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
)

// TestKindOf: the words are recorded from OpenZFS 2.1.11 on Debian 12.
func TestKindOf(t *testing.T) {
	for words, want := range map[string]be.Kind{
		"cannot open 'rec/missing': dataset does not exist\n":                                                                           be.NotFound,
		"cannot open 'nopool': no such pool\n":                                                                                          be.NotFound,
		"could not find any snapshots to destroy; check snapshot names.\n":                                                              be.NotFound,
		"cannot open 'rec/missing': dataset does not exist\nusage:\n\tsnapshot [-r] [-o property=value] ... <filesystem|volume>@<snap>": be.NotFound,
		"cannot create snapshot 'rec/a@s': dataset already exists\nno snapshots were created\n":                                         be.InUse,
		"cannot create 'rec/b': dataset already exists\n":                                                                               be.InUse,
		"cannot rename 'rec/a': dataset already exists\n":                                                                               be.InUse,
		"cannot destroy 'rec/a': filesystem has dependent clones\nuse '-R' to destroy the following datasets:\nrec/b\n":                 be.InUse,
		"cannot destroy 'rec/a@s': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\nrec/b\n":                 be.InUse,
		"cannot destroy 'rec/b': filesystem has children\nuse '-r' to destroy the following datasets:\nrec/b@s\n":                       be.InUse,
		"cannot create 'rec/q': out of space\n":                                                                                         be.Undone,
		"cannot create snapshots : permission denied\n":                                                                                 be.Denied,
		// Permission denied must never read as "does not exist", nor anything
		// else that is not known.
		"cannot open 'rec/a': permission denied\n":                     be.Denied,
		"cannot open 'rec/a': I/O error\n":                             be.Other,
		"internal error: Invalid argument\n":                           be.Other,
		"cannot set property for 'rec': no such pool or dataset\n":     be.Other,
		"warning: dataset does not exist is what somebody wrote\n":     be.Other,
		"cannot open 'rec/a': dataset does not exist any more, says X": be.Other,
	} {
		if got := kindOf(words); got != want {
			t.Errorf("%q is of kind %d, want %d", words, got, want)
		}
	}
}

// fakeZFS puts a script before the real zfs in the path.
func fakeZFS(t *testing.T, script string) *Store {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "zfs"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	return &Store{root: "p/ROOT", pool: "p"}
}

func TestErrorsKeepTheToolsWords(t *testing.T) {
	s := fakeZFS(t, `echo "cannot open 'p/ROOT': it is Tuesday" >&2; exit 1`)
	_, err := s.List(context.Background())
	if err == nil || !strings.Contains(err.Error(), "it is Tuesday") || !strings.HasPrefix(err.Error(), "cannot list") || be.KindOf(err) != be.Other {
		t.Errorf("List says: %v (kind %d)", err, be.KindOf(err))
	}
	if there, err := s.VolumeExists(context.Background(), be.StateVolume); err == nil || there {
		t.Errorf("an error of another kind is taken for %v, %v", there, err)
	}
}

func TestToolsSpeakC(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	s := fakeZFS(t, `echo "$LC_ALL"`)
	out, err := s.output(context.Background(), "zfs", "version")
	if err != nil || out != "C\n" {
		t.Errorf("it ran with LC_ALL=%q, %v", out, err)
	}
}

func TestNoTools(t *testing.T) {
	s := &Store{root: "p/ROOT", pool: "p"}
	t.Setenv("PATH", t.TempDir())
	if _, err := s.List(context.Background()); be.KindOf(err) != be.NoStore || !strings.Contains(err.Error(), "not installed") {
		t.Errorf("without zfs: %v (kind %d)", err, be.KindOf(err))
	}
}

func TestCancelledIsNotAbsent(t *testing.T) {
	s := fakeZFS(t, `exec sleep 60`)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if there, err := s.VolumeExists(ctx, be.ShareVolume); !errors.Is(err, context.Canceled) || there {
		t.Errorf("cancelled: %v, %v", there, err)
	}
}

// TestRemember: while it remembers, one look answers all; a change is seen, and
// so is what another did once it looks again.
func TestRemember(t *testing.T) {
	dir := t.TempDir()
	said := filepath.Join(dir, "said")
	s := fakeZFS(t, `[ "$1" = get ] || exit 0
echo x >>`+filepath.Join(dir, "asked")+`
case "$*" in *p/beadm*) cat `+dir+`/volumes;; esac
cat `+said)
	var volumes strings.Builder
	for _, name := range []string{"p/beadm", "p/VARSHARE"} {
		for _, p := range scanned {
			volumes.WriteString(name + "\t" + p + "\t-\tfilesystem\n")
		}
	}
	if err := os.WriteFile(dir+"/volumes", []byte(volumes.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	says := func(lines ...string) {
		t.Helper()
		var out strings.Builder
		for name, d := range grow(t, lines...).by {
			for _, p := range scanned {
				out.WriteString(name + "\t" + p + "\t" + d.property(p).source + "\t" + d.value(p) + "\n")
			}
		}
		if err := os.WriteFile(said, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func(asked int, want string) {
		t.Helper()
		os.Remove(filepath.Join(dir, "asked"))
		list, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, b := range list {
			names = append(names, b.Name)
		}
		count, _ := os.ReadFile(filepath.Join(dir, "asked")) // not there: not once
		if got := strings.Join(names, " "); got != want || strings.Count(string(count), "x") != asked {
			t.Errorf("it asked %d times and lists %q; wanted %d and %q", strings.Count(string(count), "x"), got, asked, want)
		}
	}
	says("p/ROOT", "p/ROOT/a")
	names(1, "a")
	names(1, "a")
	s.Remember(true)
	names(1, "a")
	says("p/ROOT", "p/ROOT/a", "p/ROOT/b")
	names(0, "a")
	if tr, err := s.readForMount(t.Context(), "b"); err == nil {
		t.Errorf("mounts what it has not heard of: %v", tr.names)
	}
	s.Remember(true)
	names(1, "a b")
	says("p/ROOT", "p/ROOT/b")
	if err := s.change(t.Context(), "zfs", "destroy", "p/ROOT/a"); err != nil {
		t.Fatal(err)
	}
	names(1, "b")
	s.Remember(false)
	names(1, "b")
}
