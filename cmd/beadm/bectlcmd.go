package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"beadm/activate"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

// bectlCheck says by its status alone whether boot environments can be managed
// here.
func bectlCheck(b *bectl, given []option) error {
	if !b.t.IsSetUp(b.Context.Context) {
		return bectlStatus(exInit)
	}
	return nil
}

func bectlActivateArgs(b *bectl, given []option) error {
	once, reset := has(given, 't'), has(given, 'T')
	if once && reset {
		return b.usage("")
	}
	if len(b.args) != 1 && (!reset || len(b.args) != 0) {
		return b.wrong("wrong number of arguments")
	}
	return nil
}

// bectlActivate arms a trial, as beadm activate: what bectl makes the default at
// once becomes so when it has proven healthy. Until then it is listed as R.
func bectlActivate(b *bectl, given []option) error {
	ctx := b.Context.Context
	if has(given, 'T') {
		for _, l := range b.list {
			if !l.Once || !l.Next || l.Running {
				continue
			}
			if err := b.t.Deactivate(ctx, l.Name, false); err != nil {
				fmt.Fprintln(b.out, "Failed to remove temporary activation")
				return b.fail(number(err), err, "")
			}
		}
		fmt.Fprintln(b.out, "Temporary activation removed")
		return nil
	}
	once, name := has(given, 't'), b.args[0]
	when := ""
	if once {
		when = " for next boot"
	}
	failed := func(number int, err error) error {
		fmt.Fprintf(b.out, "Did not successfully activate boot environment %s%s\n", name, when)
		return b.fail(number, err, "")
	}
	l := b.find(name)
	if l == nil {
		return failed(errNoEnt, nil)
	}
	say := b.t.Report.(talk)
	say.err = b.err // what would be left behind is not kept from whoever asks for it
	b.t.Report = say
	// What runs has shown that it can.
	opts := activate.ActivateOptions{Once: once, Permanent: l.Running && !l.Deflt && !once}
	if err := b.t.Activate(ctx, l.Name, opts); err != nil {
		return failed(number(err), err)
	}
	fmt.Fprintf(b.out, "Successfully activated boot environment %s%s\n", name, when)
	return nil
}

func bectlCreateArgs(b *bectl, given []option) error {
	if has(given, 'E') && (has(given, 'e') || has(given, 'r')) {
		return b.wrong("-E takes neither -e nor -r")
	}
	return b.oneArgument(nil)
}

// bectlCreate clones subordinates with and without -r: one without them could
// not be activated.
func bectlCreate(b *bectl, given []option) error {
	ctx, name := b.Context.Context, b.args[0]
	if of, snap, is := be.SplitSnapshot(name); is {
		failed := fmt.Sprintf("Failed to create a snapshot '%s' of '%s'", snap, of)
		l, err := b.named(of, failed)
		if err != nil {
			return err
		}
		if _, err := b.t.Snapshot(ctx, l.Name, snap, false); err != nil {
			if be.KindOf(err) == be.Usage {
				return b.fail(errInvalidName, err, "bectl create: boot environment name must not contain spaces")
			}
			return b.fail(number(err), err, failed)
		}
		return nil
	}
	opts := activate.CreateOptions{Empty: has(given, 'E')}
	failed := "Failed to create bootenv " + name
	for _, o := range given {
		if o.letter == 'e' {
			opts.From = o.value
			failed = fmt.Sprintf("Failed to create bootenv %s from snapshot %s", name, o.value)
		}
	}
	if be.CheckName(name) != nil {
		return b.fail(errInvalidName, nil, "bectl create: boot environment name must not contain spaces")
	}
	if b.find(name) != nil {
		return b.fail(errExists, nil, failed)
	}
	if has(given, 'e') {
		of, snap, isSnap := be.SplitSnapshot(opts.From)
		l, err := b.named(of, failed)
		if err != nil {
			return err
		}
		if opts.From = l.Name; isSnap {
			opts.From += "@" + snap
		}
	}
	if _, err := b.t.Create(ctx, name, opts); err != nil {
		return b.fail(number(err), err, failed)
	}
	return nil
}

// stamped are names that bectl gives snapshots by itself: never without a serial
// number, as beadm snapshot gives them.
var stamped = regexp.MustCompile(`^\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d-\d+$`)

func bectlDestroy(b *bectl, given []option) error {
	ctx, force, withOrigin := b.Context.Context, has(given, 'F'), has(given, 'o')
	if of, snap, is := be.SplitSnapshot(b.args[0]); is {
		l, err := b.named(of, "")
		if err != nil {
			return err
		}
		return b.destroySnapshot(l.Name, snap)
	}
	l, err := b.named(b.args[0], "")
	if err != nil {
		return err
	}
	from, snap, cloned := be.SplitSnapshot(l.Origin)
	// Those that beadm makes go with their last clone.
	cloned = cloned && b.find(from) != nil && !strings.HasPrefix(snap, "beadm-")
	if cloned && !withOrigin && !stamped.MatchString(snap) {
		fmt.Fprintf(b.err, "bectl destroy: leaving origin '%s@%s' intact\n", b.find(from).Location, snap)
		cloned = false
	}
	switch {
	case l.Running || l.Deflt || l.Next:
		return b.fail(errDestroyAct, nil, "")
	case l.Mountpoint != "" && !force:
		return b.fail(errDestroyMnt, nil, "")
	}
	if _, err := b.t.Destroy(ctx, l.Name, force, false); err != nil {
		return b.fail(number(err), err, "")
	}
	if !cloned {
		return nil
	}
	// As in libbe, what others were cloned from as well stays.
	err = b.t.DestroySnapshot(ctx, from, snap, false)
	if kind := be.KindOf(err); kind == be.NotFound || kind == be.InUse {
		return nil
	}
	if err != nil {
		return b.fail(number(err), err, "")
	}
	return nil
}

func (b *bectl) destroySnapshot(name, snap string) error {
	err := b.t.DestroySnapshot(b.Context.Context, name, snap, false)
	switch {
	case err == nil:
		return nil
	case slices.ContainsFunc(b.list, func(l activate.Listed) bool { return l.Origin == name+"@"+snap }):
		return b.fail(errHasClones, err, "")
	case be.KindOf(err) == be.Usage:
		return b.fail(errInvalidName, nil, "")
	}
	return b.fail(number(err), err, "")
}

func bectlListArgs(b *bectl, given []option) error {
	if len(b.args) != 0 {
		return b.wrong("extra argument provided")
	}
	return nil
}

func bectlList(b *bectl, given []option) error {
	o := render.BectlOptions{All: has(given, 'a'), OriginSpace: has(given, 'D'), Script: has(given, 'H'), Snapshots: has(given, 's')}
	if o.All || o.Snapshots {
		o.OriginSpace = false
	}
	key, descending := "name", false
	for _, opt := range given {
		if opt.letter == 'c' || opt.letter == 'C' {
			key, descending = opt.value, opt.letter == 'C'
		}
	}
	if err := b.t.Measure(b.Context.Context, b.list); err != nil {
		return b.plain(fmt.Sprintf("bectl: %v\nbectl list: failed to fetch boot environments", err))
	}
	if o.Detailed() || strings.HasPrefix(key, "used") {
		if err := b.t.Detail(b.Context.Context, b.list, true, true); err != nil {
			return b.plain(fmt.Sprintf("bectl: %v\nbectl list: failed to fetch boot environments", err))
		}
	}
	if err := render.SortBectl(b.list, key, descending); err != nil {
		return b.wrong("%v", err)
	}
	list := b.list
	if o.Script { // a script would take it for a whole one
		list = slices.DeleteFunc(slices.Clone(list), func(l activate.Listed) bool { return l.Incomplete })
	}
	return render.Bectl(b.out, list, o)
}

func bectlMountArgs(b *bectl, given []option) error {
	switch {
	case len(b.args) < 1:
		return b.wrong("missing argument(s)")
	case len(b.args) > 2:
		return b.wrong("too many arguments")
	}
	return nil
}

func bectlMount(b *bectl, given []option) error {
	dir, failed := "", fmt.Sprintf("Failed to mount bootenv %s at temporary path (null)", b.args[0])
	if len(b.args) == 2 {
		dir = b.args[1]
		failed = fmt.Sprintf("Failed to mount bootenv %s at %s", b.args[0], dir)
	}
	l, err := b.named(b.args[0], failed)
	if err != nil {
		return err
	}
	if l.Mountpoint != "" {
		return b.fail(errMounted, nil, failed)
	}
	at, err := b.t.Mount(b.Context.Context, l.Name, dir, false, false)
	if err != nil {
		n := number(err)
		if dir != "" {
			if info, look := os.Stat(dir); errors.Is(look, fs.ErrNotExist) || look == nil && !info.IsDir() {
				n = errBadPath
			} else if inside, look := os.ReadDir(dir); look == nil && len(inside) > 0 {
				n = errPathBusy
			}
		}
		return b.fail(n, err, failed)
	}
	fmt.Fprintln(b.out, at)
	return nil
}

func bectlRenameArgs(b *bectl, given []option) error {
	switch {
	case len(b.args) < 2:
		return b.wrong("missing argument")
	case len(b.args) > 2:
		return b.wrong("too many arguments")
	}
	return nil
}

func bectlRename(b *bectl, given []option) error {
	to := b.args[1]
	failed := fmt.Sprintf("Failed to rename bootenv %s to %s", b.args[0], to)
	if be.CheckName(to) != nil {
		fmt.Fprintln(b.err, failed)
		return bectlStatus(errInvalidName)
	}
	l, err := b.named(b.args[0], failed)
	switch {
	case err != nil:
		return err
	case l.Mountpoint != "":
		return b.fail(errMounted, nil, failed)
	case b.find(to) != nil:
		return b.fail(errExists, nil, failed)
	}
	if err := b.t.Rename(b.Context.Context, l.Name, to, false); err != nil {
		return b.fail(number(err), err, failed)
	}
	return nil
}

func bectlUnmount(b *bectl, given []option) error {
	failed := "Failed to unmount bootenv " + b.args[0]
	l, err := b.named(b.args[0], failed)
	if err != nil {
		return err
	}
	if err := b.t.Unmount(b.Context.Context, l.Name, has(given, 'f'), false); err != nil {
		n := number(err)
		if be.KindOf(err) == be.InUse {
			n = errPathBusy
		}
		return b.fail(n, err, failed)
	}
	return nil
}

func bectlStreamArgs(b *bectl, given []option) error {
	switch {
	case len(b.args) < 1:
		return b.wrong("missing boot environment name")
	case len(b.args) > 1:
		return b.wrong("extra arguments provided")
	case b.name == "export" && isTerminal(heard(b.out)):
		fmt.Fprintln(b.err, "bectl export: must redirect output")
		return bectlStatus(exUsage)
	case b.name == "import" && isTerminal(b.App.Reader):
		fmt.Fprintln(b.err, "bectl import: input can not be from terminal")
		return bectlStatus(exUsage)
	}
	return nil
}

func bectlExport(b *bectl, given []option) error {
	l, err := b.named(b.args[0], "")
	if err != nil {
		return err
	}
	if err := b.t.Export(b.Context.Context, l.Name, "", heard(b.out), nil, false); err != nil {
		return b.fail(number(err), err, "")
	}
	return nil
}

func bectlImport(b *bectl, given []option) error {
	name := b.args[0]
	switch {
	case be.CheckName(name) != nil:
		return b.fail(errInvalidName, nil, "")
	case b.find(name) != nil:
		return b.fail(errExists, nil, "")
	}
	in, _ := b.App.Reader.(*os.File)
	if in == nil {
		return b.fail(errUnknown, errors.New("there is nothing to read"), "")
	}
	if _, err := b.t.Import(b.Context.Context, name, activate.ImportOptions{In: in}); err != nil {
		return b.fail(number(err), err, "")
	}
	return nil
}
