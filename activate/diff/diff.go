// Package diff says how two boot environments differ: by their packages, and file
// by file. It only reads, and knows nothing of stores.
package diff

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"beadm/activate/trees"
	"beadm/be/rooted"
	"beadm/sync/lines"
)

// Side is one of the two.
type Side struct {
	Name string // as it is called in what is said
	Dir  string // where its root is mounted
	Own  string // its location in its store, as trees.OpenOwn wants it
}

// What to look at. Neither is both.
type What struct {
	Packages, Files bool
	Text            bool // with what changed in each file of /etc, as diff -u shows it
}

// Report is how New differs from Old.
type Report struct {
	Old string `json:"old"`
	New string `json:"new"`
	// Packages and Files are null where they were not looked at.
	Packages []Package `json:"packages"`
	Files    []File    `json:"files"`
	// Notes say what could not be compared.
	Notes []string `json:"notes"`
}

// Change is what became of something: "added", "removed", "changed", or of a
// file's mode, owner, ACL or extended attributes alone "attributes".
type Change string

// The changes.
const (
	Added      Change = "added"
	Removed    Change = "removed"
	Changed    Change = "changed"
	Attributes Change = "attributes"
)

// File is one that differs, or a directory that only one has, with all in it.
type File struct {
	Path   string `json:"path"` // in UTF-8 and one line, as rooted.Printable writes it
	Change Change `json:"change"`
	Files  int    `json:"files"` // in a directory; else 1
	Bytes  int64  `json:"bytes"` // as their lengths say
	// Text is what changed in it, if that was asked for and it is text.
	Text string `json:"text,omitempty"`
	raw  string
}

// Compare looks at both. An error, ctx's included, ends it.
func Compare(ctx context.Context, old, new Side, what What) (Report, error) {
	r := Report{Old: old.Name, New: new.Name, Notes: []string{}}
	a, err := trees.OpenOwn(old.Dir, old.Own)
	if err != nil {
		return r, fmt.Errorf("cannot look into %s: %w", old.Name, err)
	}
	defer a.Close()
	b, err := trees.OpenOwn(new.Dir, new.Own)
	if err != nil {
		return r, fmt.Errorf("cannot look into %s: %w", new.Name, err)
	}
	defer b.Close()
	if what.Packages || !what.Files {
		if r.Packages, err = comparePackages(&r, side{old.Name, a}, side{new.Name, b}); err != nil {
			return r, fmt.Errorf("cannot compare the packages of %s and %s: %w", old.Name, new.Name, err)
		}
	}
	if what.Files || !what.Packages {
		if r.Files, err = compareFiles(ctx, a, b); err != nil {
			return r, fmt.Errorf("cannot compare the files of %s and %s: %w", old.Name, new.Name, err)
		}
	}
	if what.Text {
		for i := range r.Files {
			r.Files[i].addText(a, b)
		}
	}
	return r, nil
}

// mostShown is how long a file of /etc may be whose changes are shown.
const mostShown = 1 << 20

// addText shows what changed in a file of /etc. One that cannot be read as text
// only has no text.
func (f *File) addText(a, b *rooted.Root) {
	if !strings.HasPrefix(f.raw, "/etc/") || f.Change == Attributes || f.Files != 1 || secret(f.raw) {
		return
	}
	var texts [2][]byte
	for i, root := range []*rooted.Root{a, b} {
		info, err := root.Lstat(f.raw)
		if trees.Gone(err) {
			continue
		}
		if err != nil || !info.IsRegular() {
			return
		}
		// What not everybody may read is not for a terminal that others see, nor
		// for a ticket that the output is pasted into.
		if info.Mode&0o004 == 0 {
			return
		}
		if texts[i], err = root.ReadFileLimit(f.raw, mostShown); err != nil {
			return
		}
	}
	names := [2]string{"a" + f.Path, "b" + f.Path}
	if text, err := lines.Unified(texts[0], texts[1], names[0], names[1]); err == nil {
		f.Text = text
	}
}

// secret are files whose lines nobody is to paste anywhere.
func secret(path string) bool {
	return slices.Contains([]string{"/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/gshadow-", "/etc/master.passwd", "/etc/spwd.db"}, path)
}
