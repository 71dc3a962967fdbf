package diff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"beadm/activate/trees"
	"beadm/be/rooted"
)

// passed are the directories whose content lives as long as a boot, or is shared:
// what is in them is no difference.
var passed = []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/run", "/var/lock", "/var/tmp", "/lost+found", trees.Shared}

// subvolumeTop is the inode number of a btrfs subvolume's top: one that is nested
// is in no clone.
const subvolumeTop = 256

// mostFound keeps what a guest made from filling the host's memory.
const mostFound = 1_000_000

// compareFiles returns what differs, by path. It needs memory for that, not for
// what it passes.
func compareFiles(ctx context.Context, a, b *rooted.Root) ([]File, error) {
	// What is in b first, then what is in a alone.
	there := finder{ctx: ctx, pair: trees.Pair{A: b, B: a}, alone: Added, both: true}
	if err := b.Scan("/", there.deep, there.look); err != nil {
		return nil, err
	}
	gone := finder{ctx: ctx, pair: trees.Pair{A: a, B: b}, alone: Removed}
	if err := a.Scan("/", gone.deep, gone.look); err != nil {
		return nil, err
	}
	list := append(append([]File{}, there.found...), gone.found...)
	slices.SortFunc(list, func(x, y File) int { return cmp.Or(cmp.Compare(x.raw, y.raw), cmp.Compare(y.Change, x.Change)) })
	return list, nil
}

// finder goes through pair.A.
type finder struct {
	ctx   context.Context
	pair  trees.Pair
	alone Change // what B has not is this
	both  bool   // what both have is compared
	found []File
	// under is the directory, above what is looked at, that B has not, and its
	// place in found.
	under string
	at    int
}

func (f *finder) look(p string, info rooted.Info) error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	if p == "/" {
		return nil
	}
	if info.IsDir() && slices.Contains(passed, p) {
		return rooted.SkipDir
	}
	if f.under != "" && strings.HasPrefix(p, f.under+"/") {
		if !info.IsDir() {
			f.found[f.at].Files++
			f.found[f.at].Bytes += length(info)
		}
		return nil
	}
	f.under = ""
	how, err := f.compare(p, info)
	if err != nil || how == trees.Same {
		return err
	}
	change := Changed
	switch how {
	case trees.Absent, trees.Kind:
		change = f.alone
	case trees.Attributes:
		change = Attributes
	}
	if how != trees.Absent && how != trees.Kind && !f.both {
		return nil
	}
	if info.IsDir() && info.Ino == subvolumeTop && how == trees.Absent {
		return rooted.SkipDir
	}
	one := File{Path: rooted.Printable(p), Change: change, Files: 1, Bytes: length(info), raw: p}
	if info.IsDir() && change == f.alone {
		one.Path, one.Files = path.Join(one.Path)+"/", 0
		f.under, f.at = p, len(f.found)
	}
	if len(f.found) == mostFound {
		return fmt.Errorf("more than %d files differ", mostFound)
	}
	f.found = append(f.found, one)
	return nil
}

func (f *finder) compare(p string, info rooted.Info) (trees.Difference, error) {
	if f.both {
		return f.pair.Compare(f.ctx, p, info)
	}
	there, err := f.pair.B.Lstat(p)
	switch {
	case errors.Is(err, rooted.ErrAvoided):
		return trees.Same, nil // something is mounted over it
	case trees.Gone(err):
		return trees.Absent, nil
	case err != nil:
		return trees.Same, err
	case there.Mode.Type() != info.Mode.Type():
		return trees.Kind, nil
	}
	return trees.Same, nil
}

// deep is a directory that is too far down to be looked into.
func (f *finder) deep(string) error { return nil }

func length(info rooted.Info) int64 {
	if info.IsRegular() {
		return info.Size
	}
	return 0
}
