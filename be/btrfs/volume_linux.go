package btrfs

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/mounttable"
)

// volume is where a volume is, and what the permissions of its root are.
type volume struct {
	base
	name string
	perm uint32
	// elsewhere is the UUID of a subvolume that is not the store's; name is then
	// its path from the top level, and base where its snapshots are.
	elsewhere string
}

// elsewherePrefix begins the name of the volume of such a one.
const elsewherePrefix = "subvolume "

// at says where: one state volume for the whole file system, at its top, as
// the stores in it may be many; the shared one beside the boot environments.
func (s *Store) at(v be.Volume) (volume, error) {
	switch v {
	case be.StateVolume:
		return volume{base: s.top, name: stateVolume, perm: 0o700}, nil
	case be.ShareVolume:
		return volume{base: s.beroot, name: shareVolume, perm: 0o755}, nil
	}
	if uuid, ok := strings.CutPrefix(string(v), elsewherePrefix); ok {
		return s.elsewhere(uuid)
	}
	return volume{}, be.E(be.Usage, "there is no volume %q", v)
}

// owner is the directory of a volume's snapshots. No UUID looks like it.
func (v volume) owner() string {
	if v.elsewhere != "" {
		return "subvolume-" + v.elsewhere
	}
	return "volume-" + v.name[1:]
}

// elsewhere is the subvolume of that UUID, wherever it is now.
func (s *Store) elsewhere(uuid string) (volume, error) {
	woods, err := s.scan()
	if err != nil {
		return volume{}, err
	}
	sv := woods.byUUID(uuid)
	if sv == nil {
		return volume{}, be.E(be.NotFound, "there is no subvolume %s any more", uuid)
	}
	path, err := s.dirPath(woods, sv.id, firstFree)
	return volume{base: s.beroot, name: path, elsewhere: uuid}, problem(err, "cannot find subvolume %s", uuid)
}

// VolumeAt names the subvolume of this file system that is mounted at dir. The
// mounts of a boot environment's own fstab are none of its subvolumes.
func (s *Store) VolumeAt(ctx context.Context, dir string) (be.Volume, bool, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false, be.E(be.NotFound, "cannot look at %s: %w", dir, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", false, problem(err, "cannot look at %s", dir)
	}
	// No btrfs, another one, or a directory inside a subvolume.
	if id, err := fsUUID(fd); err != nil || id != s.fsid || st.Ino != firstFree {
		return "", false, nil
	}
	id, err := subvolumeID(fd)
	if err != nil {
		return "", false, problem(err, "cannot look at %s", dir)
	}
	woods, err := s.scan()
	if err != nil {
		return "", false, err
	}
	sv := woods.byID[id]
	if sv == nil || sv.uuid == "" {
		return "", false, nil // the top level, of which there is no snapshot that does not hold itself
	}
	path, err := s.dirPath(woods, id, firstFree)
	table, tableErr := mounttable.Read()
	if err := errors.Join(err, tableErr); err != nil {
		return "", false, problem(err, "cannot look at %s", dir)
	}
	// One that lies in another, and is not mounted itself, is none.
	if m, err := table.Of(fd); err != nil || m.Root != "/"+path {
		return "", false, problem(err, "cannot look at %s", dir)
	}
	return be.Volume(elsewherePrefix + sv.uuid), false, nil
}

// find is the volume's subvolume, nil if it is not there.
func (v volume) find(woods *forest) *subvolume {
	for _, sv := range woods.held(v.id, v.inode) {
		if sv.name == v.name {
			return sv
		}
	}
	return nil
}

// VolumeExists looks for the subvolume.
func (s *Store) VolumeExists(ctx context.Context, v be.Volume) (bool, error) {
	vol, err := s.at(v)
	if err != nil {
		return false, err
	}
	woods, err := s.scan()
	if err != nil {
		return false, err
	}
	return vol.find(woods) != nil, nil
}

// CreateVolume makes the subvolume if it is not there.
func (s *Store) CreateVolume(ctx context.Context, v be.Volume) error {
	vol, err := s.at(v)
	if err != nil {
		return err
	}
	return problem(s.createVolume(vol), "cannot create volume %s", vol.name)
}

func (s *Store) createVolume(vol volume) error {
	woods, err := s.scan()
	if err != nil || vol.find(woods) != nil {
		return err
	}
	// Under a name of no meaning until its permissions are right: nobody may
	// enter the state volume for a moment.
	dir, temp := vol.fd(), "@beadm-volume-"+vol.name[1:]
	err = s.deleteTree(dir, temp)
	if err == nil {
		err = s.do(func() error { return subvolCreate(dir, temp) }, "create subvolume %s", temp)
	}
	if err == nil {
		err = s.do(func() error { return setPerm(dir, temp, vol.perm) }, "set the mode of %s to %#o", temp, vol.perm)
	}
	if err == nil {
		err = s.do(func() error {
			return unix.Renameat2(dir, temp, dir, vol.name, unix.RENAME_NOREPLACE)
		}, "rename %s to %s", temp, vol.name)
	}
	if err == nil {
		err = s.sync()
	}
	if err != nil {
		return errors.Join(err, undoRename(dir, vol.name, temp), s.deleteTree(dir, temp))
	}
	return nil
}

func setPerm(dir int, name string, perm uint32) error {
	fd, err := beneath(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, perm)
}

// MountVolume mounts it, unless it is what is mounted at dir.
func (s *Store) MountVolume(ctx context.Context, v be.Volume, dir string) error {
	vol, err := s.at(v)
	if err != nil {
		return err
	}
	return problem(s.mountVolume(vol, dir), "cannot mount volume %s", vol.name)
}

func (s *Store) mountVolume(vol volume, dir string) error {
	woods, err := s.scan()
	if err != nil {
		return err
	}
	sv := vol.find(woods)
	if sv == nil {
		return be.E(be.NotFound, "it does not exist; run beadm setup")
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return be.E(be.NotFound, "cannot mount at %s: %w", dir, err)
	}
	id, err := subvolumeID(fd)
	fsid, fsErr := fsUUID(fd)
	unix.Close(fd)
	if err == nil && fsErr == nil && fsid == s.fsid && id == sv.id {
		return nil
	}
	return s.mount(sv, dir, false)
}

// DestroyVolume deletes the volume, what is nested in it and its snapshots.
func (s *Store) DestroyVolume(ctx context.Context, v be.Volume) error {
	vol, err := s.at(v)
	if err != nil {
		return err
	}
	return problem(s.destroyVolume(vol), "cannot destroy volume %s", vol.name)
}

func (s *Store) destroyVolume(vol volume) error {
	woods, err := s.scan()
	if err != nil {
		return err
	}
	table, err := mounttable.Read()
	if err != nil {
		return err
	}
	if err := s.notMounted(table, vol.join(vol.name)); err != nil {
		return err
	}
	list := heldBy(woods, vol.base, vol.owner())
	for _, sv := range list {
		if err := s.notMounted(table, vol.join(snapshotPath(vol.owner(), sv.name))); err != nil {
			return err
		}
	}
	for _, sv := range list {
		if err := s.destroySnapshot(vol.base, vol.owner(), sv.name); err != nil {
			return err
		}
	}
	if err := s.dropSnapshotDir(vol.base, vol.owner()); err != nil {
		return err
	}
	if err := s.deleteTree(vol.fd(), vol.name); err != nil {
		return err
	}
	return s.sync()
}

// SnapshotVolume snapshots the volume and all nested in it.
func (s *Store) SnapshotVolume(ctx context.Context, v be.Volume, snap string) (be.Snapshot, error) {
	vol, err := s.at(v)
	if err != nil {
		return be.Snapshot{}, err
	}
	sn, err := s.snapshotVolume(ctx, vol, snap)
	return sn, problem(err, "cannot make snapshot %s@%s", vol.name, snap)
}

func (s *Store) snapshotVolume(ctx context.Context, vol volume, snap string) (be.Snapshot, error) {
	from := vol.fd()
	if vol.elsewhere != "" {
		from = s.top.fd()
	}
	fd, err := beneath(from, vol.name)
	if errors.Is(err, unix.ENOENT) {
		return be.Snapshot{}, be.E(be.NotFound, "the volume does not exist; run beadm setup")
	}
	if err != nil {
		return be.Snapshot{}, err
	}
	defer unix.Close(fd)
	all := func(string) bool { return true }
	if err := s.snapshotTree(ctx, fd, vol.base, vol.owner(), snap, false, all); err != nil {
		return be.Snapshot{}, err
	}
	list, err := s.wholeOnes(vol.base, vol.owner(), "")
	if err != nil {
		return be.Snapshot{}, err
	}
	for _, sn := range list {
		if sn.Name == snap {
			return sn, nil
		}
	}
	return be.Snapshot{}, errors.New("it is gone")
}

// VolumeSnapshots lists the whole ones, oldest first.
func (s *Store) VolumeSnapshots(ctx context.Context, v be.Volume) ([]be.Snapshot, error) {
	vol, err := s.at(v)
	if err != nil {
		return nil, err
	}
	list, err := s.wholeOnes(vol.base, vol.owner(), "")
	return list, problem(err, "cannot list the snapshots of volume %s", vol.name)
}

// DestroyVolumeSnapshot deletes one.
func (s *Store) DestroyVolumeSnapshot(ctx context.Context, v be.Volume, snap string) error {
	vol, err := s.at(v)
	if err != nil {
		return err
	}
	if err = s.existing(vol.base, vol.owner(), vol.name, snap); err == nil {
		err = s.destroySnapshot(vol.base, vol.owner(), snap)
	}
	return problem(err, "cannot destroy snapshot %s@%s", vol.name, snap)
}

// MountVolumeSnapshot mounts one read-only.
func (s *Store) MountVolumeSnapshot(ctx context.Context, v be.Volume, snap, dir string) error {
	vol, err := s.at(v)
	if err != nil {
		return err
	}
	return problem(s.mountSnapshot(vol.base, vol.owner(), vol.name, snap, dir), "cannot mount snapshot %s@%s", vol.name, snap)
}
