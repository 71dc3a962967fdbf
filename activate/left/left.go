// Package left finds what a switch would leave behind: what the boot
// environment that runs wrote since the one that is to run was cloned or last
// ran, and that nothing carries there. It only reads, and knows nothing of how
// boot environments are switched.
package left

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"beadm/activate/trees"
	"beadm/be/rooted"
	"beadm/sync/synclist"
)

// Place is a file that would be left behind, or a directory with several.
type Place struct {
	// Path is in UTF-8 and one line: bytes that are not, and those that would
	// move a cursor, are written \xNN, a backslash \\.
	Path  string `json:"path"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"` // as their lengths say; a file with several names counts once
	Data  bool   `json:"data"`  // somebody's: not left without being told to
}

// Look says where to look.
type Look struct {
	Old, New string // directories where the two roots are mounted
	// Since is the moment up to which New has what the machine wrote. Files of
	// Old that were not touched since are not looked at. Zero: nobody knows,
	// and every file is compared.
	Since time.Time
	List  synclist.List // what is carried, or is on it to stay where it is
	// Own and NewOwn are the locations of Old and New in their store: what is
	// mounted below one is its own if it comes from there, and somebody else's
	// otherwise.
	Own, NewOwn string
}

// Shared is where the data lives that is in no boot environment.
const Shared = trees.Shared

// Places returns what would be left behind: data first, then the rest, the
// biggest first. It needs memory for what it finds, not for what it passes. If
// it is stopped by an error, ctx's included, it returns what it had found.
func (l Look) Places(ctx context.Context) ([]Place, error) {
	old, err := trees.OpenOwn(l.Old, l.Own)
	if err != nil {
		return nil, fmt.Errorf("cannot look for what would be left behind: %w", err)
	}
	defer old.Close()
	other, err := trees.OpenOwn(l.New, l.NewOwn)
	if err != nil {
		return nil, fmt.Errorf("cannot look for what would be left behind: %w", err)
	}
	defer other.Close()
	w := walk{ctx: ctx, old: old, new: other, pair: trees.Pair{A: old, B: other}, since: l.Since, list: l.List, aliases: aliases(old, l.List), found: found{}}
	if err = old.Scan("/", w.deep, w.look); err != nil {
		err = fmt.Errorf("cannot look for what would be left behind: %w", err)
	}
	return w.found.sorted(), err
}

// Data are those of places that are somebody's.
func Data(places []Place) []Place {
	n := slices.IndexFunc(places, func(p Place) bool { return !p.Data })
	if n < 0 {
		return places
	}
	return places[:n]
}

// String is the path, with the number of files if there are several.
func (p Place) String() string {
	if p.Files > 1 {
		return fmt.Sprintf("%s (%d files)", p.Path, p.Files)
	}
	return p.Path
}

// Few names the first n places, on one line.
func Few(places []Place, n int) string {
	var names []string
	for _, p := range places[:min(n, len(places))] {
		names = append(names, p.String())
	}
	text := strings.Join(names, ", ")
	if more := len(places) - n; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// found are places by the path that they are collected under.
type found map[string]*Place

// mostPlaces is where the report gets coarser in place of longer: who reads
// it sees twenty lines, and a guest may have any number of directories.
const mostPlaces = 2000

func (f found) add(p string, bytes int64) {
	at, data := placeOf(p)
	if f[at] == nil && len(f) >= mostPlaces {
		if i := strings.IndexByte(at[1:], '/'); i >= 0 {
			at = at[:i+1]
		}
	}
	place := f[at]
	if place == nil {
		place = &Place{Path: rooted.Printable(p)}
		f[at] = place
	} else {
		place.Path = rooted.Printable(at)
	}
	place.Files++
	place.Bytes += bytes
	place.Data = place.Data || data
}

func (f found) sorted() []Place {
	list := make([]Place, 0, len(f))
	for _, p := range f {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b Place) int {
		switch {
		case a.Data != b.Data && a.Data:
			return -1
		case a.Data != b.Data:
			return 1
		}
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Files, a.Files), strings.Compare(a.Path, b.Path))
	})
	return list
}
