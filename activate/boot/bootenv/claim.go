package bootenv

import (
	"context"

	"beadm/activate/boot"
)

// Told is what a loader told the kernel.
type Told struct {
	// Dataset is the one whose token was taken; empty if none was.
	Dataset string
	// Known is false where nobody can say what the loader told.
	Known bool
	// Now says that it was taken for the boot that runs, and not for one before
	// it that did not come as far as the kernel.
	Now bool
}

// Claim says of the boot that runs, whose root is the dataset root, what a
// Linux kernel is told by its command line (boot.Cmdline, boot.Passed):
// neither of these loaders gives one. Nothing is claimed where nothing was set
// up.
//
// Where nobody can say what the loader told, a token that is gone was taken
// for this boot if its boot environment runs and is not the default: a trial
// that goes unwatched is worse than a boot environment, picked at the menu,
// that is watched.
func (l *Loader) Claim(ctx context.Context, root string) ([]byte, error) {
	d, err := l.read(ctx)
	if err != nil {
		return nil, err
	}
	id := d.ids[root]
	if d.loader != l.cfg.Name || id == "" {
		return nil, nil
	}
	claim := boot.ArgBE + "=" + id
	told, err := l.cfg.Told(ctx)
	if err != nil {
		return nil, err
	}
	taken := d.ids[told.Dataset]
	if !told.Known && d.recErr == nil && d.record.of(id) {
		token, err := l.token(ctx)
		if err != nil {
			return nil, err
		}
		bootfs, err := l.bootfs(ctx)
		if err != nil {
			return nil, err
		}
		if token == "" && bootfs != root {
			taken = id
		}
	}
	switch {
	case taken == "":
	case taken == id:
		claim += " " + boot.ArgTrial + "=1"
	case told.Now:
		claim += " " + boot.ArgPassed + "=" + taken
	}
	return []byte(claim + "\n"), nil
}
