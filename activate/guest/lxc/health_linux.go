package lxc

import (
	"context"

	"beadm/activate/guest"
	"beadm/be"
)

// Health asks what Config says.
func (r *Runtime) Health(ctx context.Context, g guest.Guest) (guest.Health, error) {
	c, err := r.container(ctx, g)
	if err != nil {
		return guest.Health{}, err
	}
	if !c.running || c.leader == 0 {
		return guest.Health{}, be.E(be.NotFound, "%s does not run", g.Name)
	}
	return r.cfg.Health(ctx, c.leader)
}
