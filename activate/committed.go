package activate

import (
	"context"
	"fmt"

	"beadm/activate/boot"
	"beadm/be/journal"
)

// committedLoader lets what boots next change in the commit step of a plan and
// nowhere else: a step that slipped in before it
// could not be undone, one behind it could not be repeated. Taking a token
// back is no commit.
type committedLoader struct{ boot.Loader }

func (l committedLoader) Arm(ctx context.Context, id string) error {
	if !journal.Committing(ctx) {
		return fmt.Errorf("cannot arm %s: that is not the commit step", id)
	}
	return l.Loader.Arm(ctx, id)
}

func (l committedLoader) SetDefault(ctx context.Context, id string) error {
	if !journal.Committing(ctx) {
		return fmt.Errorf("cannot make %s the default: that is not the commit step", id)
	}
	return l.Loader.SetDefault(ctx, id)
}

// Fits implements boot.Fitter for a loader that does; another has room.
func (l committedLoader) Fits(ctx context.Context, e boot.Entry) error {
	if f, ok := l.Loader.(boot.Fitter); ok {
		return f.Fits(ctx, e)
	}
	return nil
}
