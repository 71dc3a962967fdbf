package guest

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"beadm/be"
	"beadm/share"
)

// MountedBelow are the places below a root of the guest where the host has mounted
// its shared data, or what stands in for that, last first, and in words what
// else is mounted there.
func (p Place) MountedBelow(root string) (shared, others []string, err error) {
	root, err = filepath.EvalSymlinks(root)
	if err != nil {
		return nil, nil, err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		return nil, nil, err
	}
	for _, at := range mounts {
		below, ok := strings.CutPrefix(at.Mountpoint, root+"/")
		data, part := p.Belongs(at)
		switch {
		case !ok, part:
		case data, at.FSType == "tmpfs" && at.Source == share.StandIn:
			shared = append(shared, at.Mountpoint)
		default:
			others = append(others, at.Source+" at /"+below)
		}
	}
	slices.Reverse(shared)
	return shared, others, nil
}

// detach is Storage.Detach of a root in which the host has nothing else mounted;
// what it has is be.InUse, and stays.
func (p Place) detach(name string) error {
	if p.Storage == nil {
		return nil
	}
	_, others, err := p.MountedBelow(filepath.Join(p.Dir(), name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(others) > 0 {
		return hostsMount{be.E(be.InUse, "the host has %s mounted in %s: unmount it", others[0], filepath.Join(p.Dir(), name))}
	}
	return p.Storage.Detach(p, name)
}

// hostsMount is detach's error for what the host has mounted.
type hostsMount struct{ error }

func (e hostsMount) Unwrap() error { return e.error }
