package zone

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"beadm/activate/guest"
	"beadm/be"
)

// Kept returns the boot environments of the zone that the system keeps.
func (r *Runtime) Kept(ctx context.Context, g guest.Guest) (guest.Kept, error) {
	e, err := r.look(ctx, g)
	if err != nil {
		return guest.Kept{}, err
	}
	k, err := r.kept(ctx, e.path)
	if err != nil {
		return k, be.E(be.KindOf(err), "cannot tell what the zone %s is started from: %w", g.Name, err)
	}
	return k, nil
}

func (r *Runtime) kept(ctx context.Context, zonepath string) (guest.Kept, error) {
	mnttab, err := r.read("/etc/mnttab")
	if err != nil {
		return guest.Kept{}, err
	}
	on := mountedOn(mnttab, zonepath)
	if on == "" {
		return guest.Kept{}, nil
	}
	text, err := r.programs.Ask(ctx, askBEs(on))
	if err != nil {
		return guest.Kept{}, err
	}
	all, err := parseDatasets(text)
	if err != nil {
		return guest.Kept{}, err
	}
	list := besOf(all, on)
	if len(list) == 0 {
		return guest.Kept{}, nil
	}
	host := mountedOn(mnttab, "/")
	if host == "" {
		return guest.Kept{}, errors.New("the host's root is no dataset")
	}
	if text, err = r.programs.Ask(ctx, askUUID(host)); err != nil {
		return guest.Kept{}, err
	}
	uuid := strings.TrimSuffix(text, "\n")
	if uuid == "-" || uuid == "" {
		return guest.Kept{}, fmt.Errorf("the host's root, the dataset %s, has no %s", host, uuidProp)
	}
	return decide(list, uuid)
}
