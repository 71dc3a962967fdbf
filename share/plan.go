package share

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"beadm/be"
	copier "beadm/be/copy"
	"beadm/be/rooted"
)

// State is what a path of the profile is now.
type State string

// The states.
const (
	Real      State = "real"      // a directory of the boot environment: Init moves it
	Linked    State = "linked"    // it is in the shared dataset
	Separate  State = "separate"  // a file system of its own: shared already
	Within    State = "within"    // in With, or a link that leads there: shared when that is
	Elsewhere State = "elsewhere" // a link that is not ours: left as it is
	Absent    State = "absent"
	Refused   State = "refused" // Why says why
)

// Path is one path of the profile.
type Path struct {
	Path  string `json:"path"`
	Name  string `json:"name"` // in the shared dataset
	State State  `json:"state"`
	Why   string `json:"why,omitempty"`   // for Refused, Elsewhere and Within
	With  string `json:"with,omitempty"`  // for Within
	Bytes int64  `json:"bytes,omitempty"` // on disk, for Real, where it was asked for
	Files int64  `json:"files,omitempty"`
	Old   bool   `json:"old,omitempty"` // the tree it was moved from is kept
	// Snapshots, of a separate one, says that switches snapshot it. Whoever knows
	// the store says so: this package does not.
	Snapshots bool   `json:"snapshots,omitempty"`
	FS        string `json:"fs,omitempty"` // the kind of file system of a separate one, where it is known
}

// Plan says what Init would do. It was made by reading only.
type Plan struct {
	Root  string `json:"root"`
	Paths []Path `json:"paths"`
	Need  int64  `json:"need"` // bytes that the copies take
}

// Moves are the paths that Init would move.
func (p Plan) Moves() []Path {
	var moves []Path
	for _, x := range p.Paths {
		if x.State == Real {
			moves = append(moves, x)
		}
	}
	return moves
}

// Status tells what each path of the profile is (nil: that of the system we run
// on), and what else is shared. It reads only and counts nothing.
func Status(ctx context.Context, root string, profile []string) ([]Path, error) {
	r, err := rooted.Open(root)
	if err != nil {
		return nil, be.E(be.NotFound, "cannot look at %s: %w", root, err)
	}
	defer r.Close()
	if profile == nil {
		profile = Profile("")
	}
	paths, err := layout(r, profile)
	if err != nil {
		return nil, err
	}
	return look(r, paths)
}

// MakePlan looks at the profile, or at asked if any are given, and counts what
// is to be moved. A path that was asked for by name and cannot be moved is an
// error, and so is one outside /var unless outside allows it; one of the
// profile is left alone, and the plan says why.
func MakePlan(ctx context.Context, root string, profile []string, outside bool, asked ...string) (Plan, error) {
	plan := Plan{Root: root}
	r, err := rooted.Open(root)
	if err != nil {
		return plan, be.E(be.NotFound, "cannot look at %s: %w", root, err)
	}
	defer r.Close()
	paths := profile
	if len(asked) > 0 {
		paths = asked
	}
	if plan.Paths, err = look(r, paths); err != nil {
		return plan, err
	}
	for i := range plan.Paths {
		p := &plan.Paths[i]
		if len(asked) > 0 && (p.State == Refused || p.State == Elsewhere) {
			return plan, be.E(be.Decision, "cannot share %s: %s", rooted.Printable(p.Path), p.Why)
		}
		if len(asked) > 0 && p.State == Absent {
			return plan, be.E(be.NotFound, "cannot share %s: it is not there", rooted.Printable(p.Path))
		}
		if p.State != Real {
			continue
		}
		if len(asked) > 0 && !outside && !inside(p.Path, "/var") {
			return plan, be.E(be.Decision, "cannot share %s: it is outside /var; --outside-var shares it all the same", rooted.Printable(p.Path))
		}
		if p.Bytes, p.Files, err = weigh(ctx, r, p.Path); err != nil {
			return plan, err
		}
		plan.Need += p.Bytes
	}
	return plan, nil
}

// look finds the state of each path.
func look(r *rooted.Root, paths []string) ([]Path, error) {
	var list []Path
	seen := map[string]bool{}
	for _, p := range paths {
		p = path.Clean("/" + p)
		if seen[p] {
			continue
		}
		seen[p] = true
		x, err := lookAt(r, p)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Path < list[j].Path })
	linked, err := links(r)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if err := lookAround(r, &list[i], list, linked); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// lookAround finds the shared directory that a path is in, or leads into, which
// cannot be moved by itself, and what else around it is in the way.
func lookAround(r *rooted.Root, x *Path, list []Path, linked []string) error {
	at, lead := x.Path, "it is in "
	switch x.State {
	case Linked, Separate:
		return nil
	case Elsewhere:
		to, err := r.Resolve(x.Path)
		if err != nil {
			return nil
		}
		at, lead = to, "it is a link that leads into "
	case Refused:
		if never(x.Path) != "" {
			return nil
		}
		if to, err := r.ResolveParent(x.Path); err == nil {
			at = to
		}
	}
	// Where it leads may have been moved itself.
	if rest, ok := strings.CutPrefix(at, MountPoint+"/"); ok {
		name, below, deeper := strings.Cut(rest, "/")
		if p, ok := PathOf(name); ok {
			if at = p; deeper {
				at += "/" + below
			}
		}
	}
	for _, with := range upTo(at) {
		if with == x.Path {
			break
		}
		outer, err := lookAt(r, with)
		if err != nil {
			return err
		}
		listed := slices.ContainsFunc(list, func(p Path) bool { return p.Path == with })
		switch {
		case outer.State == Linked:
			x.Why = lead + rooted.Printable(with) + ", which is shared"
		case outer.State == Separate:
			x.Why = lead + rooted.Printable(with) + ", which is a file system of its own"
		case outer.State == Real && listed:
			x.Why = lead + rooted.Printable(with) + ", which is moved with all that is in it"
		default:
			continue
		}
		x.State, x.With = Within, with
		return nil
	}
	switch x.State {
	case Elsewhere:
		for _, with := range upTo(at) {
			if outer, err := lookAt(r, with); err == nil && outer.State == Real && with != x.Path && (with == at || inside(with, "/var")) {
				x.Why = lead + rooted.Printable(with) + ": share that"
			}
		}
	case Real:
		return lookClosely(r, x, linked)
	}
	return nil
}

// upTo are the directories on the way to p, and p, from the top.
func upTo(p string) []string {
	var list []string
	for at := p; at != "/" && at != "."; at = path.Dir(at) {
		list = append(list, at)
	}
	slices.Reverse(list)
	return list
}

// lookClosely refuses a directory that could not be exchanged for a link.
func lookClosely(r *rooted.Root, x *Path, linked []string) error {
	refuse := func(why string) error {
		x.State, x.Why = Refused, why
		return nil
	}
	for _, p := range linked {
		if inside(p, x.Path) {
			return refuse(rooted.Printable(p) + ", which is in it, is shared already: put that back first (beadm share remove " + rooted.Printable(p) + ")")
		}
	}
	if !utf8.ValidString(x.Path) {
		return refuse("its path is no UTF-8, as what beadm writes down is; rename it first")
	}
	if len(x.Name) > maxName {
		return refuse("its path is too long for a name in the shared data")
	}
	top := path.Dir(oldDir(x.Path))
	a, err := r.Lstat(path.Dir(x.Path))
	if err != nil {
		return be.E(be.Other, "cannot look at %s: %w", path.Dir(x.Path), err)
	}
	b, err := r.Stat(top)
	if err != nil {
		return be.E(be.Other, "cannot look at %s: %w", top, err)
	}
	if a.Dev != b.Dev {
		return refuse("it is in another file system than " + top + ", and cannot be exchanged for a link in one step; give it a file system of its own")
	}
	if d, err := copier.OpenDir(r, x.Path); err == nil {
		fixed := copier.Guarded(d)
		d.Close()
		if fixed {
			return refuse("it is immutable or append-only, and cannot be exchanged for a link: chattr -ia " + rooted.Printable(x.Path) + " first")
		}
	}
	// Who may rename a directory on the way leads root wherever he likes while
	// it is moved. In the directory that holds the path he has only his own.
	uid, _, err := rootOf(r)
	if err != nil {
		return be.E(be.Other, "cannot look at /: %w", err)
	}
	for _, dir := range upTo(path.Dir(x.Path)) {
		up, err := r.Lstat(path.Dir(dir))
		if err != nil {
			return be.E(be.Other, "cannot look at %s: %w", path.Dir(dir), err)
		}
		if up.UID != 0 && int(up.UID) != uid || up.Perm()&0o022 != 0 {
			return refuse("others than root can rename " + rooted.Printable(dir) + ", which leads there: share that")
		}
	}
	return nil
}

// systemPaths are directories of the system itself: it does not start without
// them, or packages own them, or nothing in them outlives a reboot.
var systemPaths = []string{
	"/bin", "/boot", "/dev", "/efi", "/etc", "/kernel", "/lib", "/lib32", "/lib64", "/libexec", "/libx32", "/platform",
	"/proc", "/rescue", "/run", "/sbin", "/sys", "/system", "/usr",
}

// never says why the path is never shared, whatever is around it.
func never(p string) string {
	switch {
	case inside(p, MountPoint):
		return "it is in the shared data already"
	case p == "/", p == "/var":
		return "the boot environment itself is in it; share directories in it, such as /var/www"
	case strings.Contains(p, "/.beadm-"):
		return "it is beadm's own, and stays where it is"
	case slices.ContainsFunc(systemPaths, func(dir string) bool { return inside(p, dir) }):
		return "it is of the system, which each boot environment has for itself; files in it can be put on the synclist (synclist(5))"
	}
	return ""
}

func lookAt(r *rooted.Root, p string) (Path, error) {
	x := Path{Path: p, Name: NameOf(p)}
	refuse := func(why string) (Path, error) {
		x.State, x.Why = Refused, why
		return x, nil
	}
	if why := never(p); why != "" {
		return refuse(why)
	}
	at, err := r.Resolve(path.Dir(p))
	if errors.Is(err, fs.ErrNotExist) {
		x.State = Absent
		return x, nil
	}
	if err != nil {
		return refuse("what leads there cannot be followed (" + said(err) + ")")
	}
	if at != path.Dir(p) {
		to := path.Join(at, path.Base(p))
		return refuse("a link on the way leads to " + rooted.Printable(to) + ": share that")
	}
	if isDir(r, oldAt(p)) {
		x.Old = true
	}
	info, err := r.Lstat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		x.State = Absent
		return x, nil
	case err != nil:
		return refuse("it cannot be looked at (" + said(err) + ")")
	case info.IsLink():
		target, err := r.Readlink(p)
		if err != nil {
			return x, be.E(be.Other, "cannot look at %s: %w", p, err)
		}
		if target == linkTarget(p) {
			x.State = Linked
			return x, nil
		}
		x.State, x.Why = Elsewhere, "it is a link to "+rooted.Printable(target)
		to, err := r.Resolve(p)
		if err == nil {
			_, err = r.Lstat(to)
		}
		if err != nil {
			x.Why += ", which leads nowhere: put a directory in its place to share that"
		} else {
			x.Why += ", which leads to " + rooted.Printable(to) + ": put a directory in its place to share that"
		}
		return x, nil
	case !info.IsDir():
		return refuse("it is not a directory; a file can be put on the synclist (synclist(5))")
	}
	for _, db := range databases {
		to := db
		if resolved, err := r.Resolve(db); err == nil {
			to = resolved
		}
		if inside(p, to) {
			return refuse("it is of a package database (" + db + "), which belongs to one boot environment")
		}
		if inside(to, p) && exists(r, to) {
			return refuse("it holds a package database (" + db + "), which belongs to one boot environment; share other directories in it by themselves")
		}
	}
	if p == "/var/adm" {
		for _, s := range susePaths {
			if exists(r, s) {
				return refuse("packages own files in it (" + s + "), which belong to one boot environment")
			}
		}
	}
	mounts, err := mountsBelow(r, p)
	if err != nil {
		return x, be.E(be.Other, "cannot see what is mounted below %s: %w", p, err)
	}
	if slices.Contains(mounts, p) {
		x.State, x.FS = Separate, fsAt(r, p)
		return x, nil
	}
	if len(mounts) > 0 {
		return refuse("another file system is mounted below it, at " + rooted.Printable(mounts[0]) + "; unmount that, or share the directories beside it")
	}
	if runtime.GOOS != "linux" {
		up, err := r.Stat(path.Dir(p))
		if err != nil {
			return x, be.E(be.Other, "cannot look at %s: %w", path.Dir(p), err)
		}
		if info.Dev != up.Dev {
			x.State = Separate
			return x, nil
		}
	}
	x.State = Real
	return x, nil
}

// said is what the system says of it, without the path.
func said(err error) string {
	var no unix.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return err.Error()
}

func exists(r *rooted.Root, p string) bool {
	_, err := r.Lstat(p)
	return err == nil
}

// weigh counts what a copy of the tree takes.
func weigh(ctx context.Context, r *rooted.Root, p string) (bytes, files int64, err error) {
	err = r.Scan(p, nil, func(at string, info rooted.Info) error {
		files++
		// A name takes something too, and so does a directory.
		bytes += 1024
		if info.IsRegular() && info.Nlink > 0 {
			bytes += dataSize(r, at, info) / int64(info.Nlink)
		}
		return ctx.Err()
	})
	// What vanishes while it is counted is no trouble.
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil && len(err.Error()) > 500 { // one that nobody reads to its end
		return 0, 0, be.E(be.Decision, "cannot move %s: something in it cannot be copied: %w", p, innermost(err))
	}
	if err != nil {
		return 0, 0, be.E(be.Other, "cannot count what is in %s: %w", p, err)
	}
	return bytes, files, nil
}

func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// dataSize leaves the holes out of files large enough to matter: lastlog says
// that it has a terabyte.
func dataSize(r *rooted.Root, at string, info rooted.Info) int64 {
	if info.Size < 1<<20 {
		return info.Size
	}
	f, err := r.OpenNoFollow(at)
	if err != nil {
		return info.Size
	}
	defer f.Close()
	data, err := copier.DataSize(f, info.Size)
	if err != nil {
		return info.Size
	}
	return data
}
