package activate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/copy"
	"beadm/be/state"
	"beadm/share"
)

// The data that all boot environments share (package share), as the state
// machine handles it.

// sharePoint is where the shared dataset is mounted, as seen in a root.
const sharePoint = "var/share"

// shareRecord is where an open relocation is kept.
const shareRecord = "share.json"

func (s *Session) hasShare(ctx context.Context) (bool, error) {
	return s.Store.VolumeExists(ctx, be.ShareVolume)
}

// liveShare is its place for messages; what is done there is done through
// openLive and openShare.
func (s *Session) liveShare() string { return filepath.Join(s.Root, sharePoint) }

// openShare opens the mount point of the running root, or what is mounted
// there. The root may be a guest's, and a link that it puts there must not
// lead a mount, or a file, to the host's directories.
func (s *Session) openShare() (*os.File, error) { return share.OpenMountPoint(s.Root) }

// openPath is a name of an open directory that nobody can make another's. Only
// Linux has one.
func openPath(dir *os.File) string {
	if runtime.GOOS != "linux" {
		return dir.Name()
	}
	return fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
}

// openLive opens the shared dataset that is mounted in the running root: nil if
// none is, or the stand-in of a boot that could not mount it, since what is
// written to that is lost.
func (s *Session) openLive() *os.File {
	d, err := s.openShare()
	if err != nil {
		return nil
	}
	if mounted, err := copier.Mounted(d); err != nil || !mounted || isTmpfs(openPath(d)) {
		d.Close()
		return nil
	}
	return d
}

func (s *Session) shareIsLive() bool {
	d := s.openLive()
	if d == nil {
		return false
	}
	d.Close()
	return true
}

// shareMounted says whether anything is mounted there. No directory at all is
// no error, a link is.
func (s *Session) shareMounted() (bool, error) {
	d, err := s.openShare()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer d.Close()
	return copier.Mounted(d)
}

// mountVolume mounts the shared dataset, if it is not mounted.
func (s *Session) mountVolume(ctx context.Context) error {
	d, err := s.openShare()
	if errors.Is(err, fs.ErrNotExist) {
		if err := share.PrepareMountPoint(s.Root, true); err != nil {
			return err
		}
		d, err = s.openShare()
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return s.Store.MountVolume(ctx, be.ShareVolume, openPath(d))
}

// mountShare mounts the shared dataset in the running root, ends a relocation
// that was cut, gives a boot environment from before the relocation its links,
// and brings in what is staged. It runs before any service.
func (s *Session) mountShare(ctx context.Context, running be.BE, trial bool) error {
	exists, err := s.hasShare(ctx)
	if err != nil {
		return s.withoutShare(ctx, trial, err)
	}
	if !exists {
		if paths, err := share.Status(ctx, s.Root, nil); err == nil && anyLinked(paths) {
			return s.withoutShare(ctx, trial, errors.New("it is gone, and directories of the system lead into it"))
		}
		return nil
	}
	if err := s.mountVolume(ctx); err != nil {
		return s.withoutShare(ctx, trial, err)
	}
	if err := s.settleShare(ctx, running.UUID, nil); err != nil {
		return err
	}
	s.finishRestore(ctx)
	if err := s.orderJournal(); err != nil {
		return err
	}
	live := s.openLive()
	if live == nil {
		return errors.New("the shared data is not mounted any more")
	}
	defer live.Close()
	if _, err = share.Adopt(ctx, s.Root, openPath(live), "", running.Created); err != nil {
		return err
	}
	// What it had of its own would be seen by nobody until the next switch.
	return s.arrive(ctx)
}

// orderJournal has journald leave the shared data before it is unmounted.
func (s *Session) orderJournal() error {
	if s.Root != "/" || !initIsSystemd() {
		return nil
	}
	err := writeUnits(runtimeUnits, map[string]string{"journal-flush.conf": "systemd-journal-flush.service.d/beadm.conf"}, nil)
	if err != nil {
		return fmt.Errorf("cannot order the journal after the shared data: %w", err)
	}
	return nil
}

// reorderJournal is orderJournal where systemd runs already.
func (s *Session) reorderJournal(ctx context.Context) error {
	if err := s.orderJournal(); err != nil || s.Root != "/" || !initIsSystemd() {
		return err
	}
	if out, err := exec.CommandContext(ctx, "systemctl", "daemon-reload").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot have systemd read its units again: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// MountShare is for a boot that cannot read beadm's state: the shared data is
// mounted all the same, or its stand-in is. Where nothing is shared it does
// nothing.
func (t *Target) MountShare(ctx context.Context) error {
	s := &Session{Target: t}
	exists, err := s.hasShare(ctx)
	if err == nil && !exists {
		return nil
	}
	mounted, merr := s.shareMounted()
	if mounted {
		return nil
	}
	if err = errors.Join(err, merr); err == nil {
		err = s.mountVolume(ctx)
	}
	if err != nil {
		return s.withoutShare(ctx, false, err)
	}
	return s.orderJournal()
}

// withoutShare lets a machine come up without its shared data, for its
// administrator to log in; never a trial.
func (s *Session) withoutShare(ctx context.Context, trial bool, cause error) error {
	cause = fmt.Errorf("the shared data cannot be mounted: %w", cause)
	if trial {
		return cause
	}
	return errors.Join(cause, share.Skeleton(ctx, s.Root))
}

// snapshotShare takes the snapshot of a switch, once.
func (s *Session) snapshotShare(ctx context.Context, activation string) error {
	exists, err := s.hasShare(ctx)
	if err != nil || !exists {
		return err
	}
	all, err := s.Store.VolumeSnapshots(ctx, be.ShareVolume)
	if err != nil {
		return err
	}
	for _, snap := range all {
		if of, _, ok := share.ParseSnapshotName(snap.Name); ok && of == activation {
			// Made before a power cut: the earlier one is the truer.
			return s.snapshotSeparate(ctx, snap.Name)
		}
	}
	name := share.SnapshotName(activation, time.Now())
	if _, err = s.Store.SnapshotVolume(ctx, be.ShareVolume, name); err != nil {
		return err
	}
	return s.snapshotSeparate(ctx, name)
}

// The snapshots of switches that are kept: the last ones, and those of the last
// days.
const (
	keepSwitches = 3
	keepDays     = 14
)

// oldSnapshots are the names among all that nobody needs. One that is not of a
// switch is not beadm's to judge, nor is one of an activation in keep.
func oldSnapshots(all []be.Snapshot, now time.Time, keep map[string]bool) []string {
	type taken struct {
		name, of string
		at       time.Time
	}
	var list []taken
	for _, snap := range all {
		if of, at, ok := share.ParseSnapshotName(snap.Name); ok {
			list = append(list, taken{snap.Name, of, at})
		}
	}
	slices.SortStableFunc(list, func(a, b taken) int { return b.at.Compare(a.at) })
	var old []string
	switches := map[string]bool{}
	for _, t := range list {
		switches[t.of] = true // several may be of one switch
		if len(switches) > keepSwitches && now.Sub(t.at) > keepDays*24*time.Hour && !keep[t.of] {
			old = append(old, t.name)
		}
	}
	return old
}

// lastActivations are those that the history tells of last.
func lastActivations(events []state.Event) (last []string) {
	for i := len(events) - 1; i >= 0 && len(last) < keepSwitches; i-- {
		if of, is := strings.CutPrefix(events[i].Detail, activationDetail); is && strings.HasPrefix(events[i].What, "activate") {
			last = append(last, of)
		}
	}
	return last
}

// pruneShare destroys the snapshots of the shared data that nobody needs any
// more. That of a failed trial which nobody has read of is needed, that of one
// under way, that of confirmed, and those of the last activations in the order
// of the history: a clock that was wrong made the newest look like the oldest.
func (s *Session) pruneShare(ctx context.Context, confirmed string) error {
	exists, err := s.hasShare(ctx)
	if err != nil || !exists || !s.Store.Caps().Snapshots {
		return err
	}
	keep := s.neededActivations()
	keep[confirmed] = true
	events, err := s.Dir.History()
	if err != nil {
		return err
	}
	for _, of := range lastActivations(events) {
		keep[of] = true
	}
	return s.withSeparate(func(v be.Volume) error {
		all, err := s.Store.VolumeSnapshots(ctx, v)
		if err != nil {
			return err
		}
		var errs []error
		for _, name := range oldSnapshots(all, time.Now(), keep) {
			err := s.Store.DestroyVolumeSnapshot(ctx, v, name)
			if err != nil && be.KindOf(err) != be.NotFound {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

// stage keeps what is written in a boot environment at rest out of the live
// data.
func (s *Session) stage(ctx context.Context, root string) error {
	exists, err := s.hasShare(ctx)
	if err != nil || !exists {
		return err
	}
	live := s.openLive()
	if live == nil {
		return share.Stage(ctx, root, "")
	}
	defer live.Close()
	return share.Stage(ctx, root, openPath(live))
}

func (s *Session) unstage(ctx context.Context, root string) error { return share.Unstage(ctx, root) }

// adoptShare gives the boot environment mounted at root the links. Its staging
// directory is mounted on /var/share, which has the layout.
func (s *Session) adoptShare(ctx context.Context, name, root string) error {
	exists, err := s.hasShare(ctx)
	if err != nil || !exists {
		return err
	}
	live := s.openLive()
	if live == nil {
		return nil
	}
	defer live.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := share.Unstage(ctx, root); err != nil {
		return err
	}
	if _, err := share.Adopt(ctx, root, openPath(live), "", b.Created); err != nil {
		return err
	}
	return s.stage(ctx, root)
}

// arrive brings what packages left in the boot environment at rest into the
// shared dataset.
func (s *Session) arrive(ctx context.Context) error {
	exists, err := s.hasShare(ctx)
	if err != nil || !exists {
		return err
	}
	live := s.openLive()
	if live == nil {
		return nil
	}
	defer live.Close()
	got, err := share.Arrive(ctx, s.Root, openPath(live), time.Now())
	if err != nil {
		return err
	}
	if n := len(got.SetAside); n > 0 {
		s.Report.Warn("%d files that packages left met others of that name: they stand in /%s/%s", n, sharePoint, got.Directory)
	}
	return nil
}

// recoverShare ends a relocation that was cut, if it was one of the running
// boot environment; what must wait for a boot of it waits.
func (s *Session) recoverShare(ctx context.Context, units share.Units) error {
	data, err := s.openRelocation()
	if err != nil || data == nil {
		return err
	}
	running, err := s.running(ctx)
	if err != nil {
		return err
	}
	if !share.WhileRunning(data, running.UUID) {
		return nil
	}
	return s.settleShare(ctx, running.UUID, units)
}

// openRelocation is the record of an open relocation, nil if there is none.
func (s *Session) openRelocation() ([]byte, error) {
	data, err := os.ReadFile(s.Dir.Path(shareRecord))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the record of the relocation: %w", err)
	}
	return data, nil
}

// settleShare ends a relocation that was cut, or says in its record that
// another boot environment than its own has run.
func (s *Session) settleShare(ctx context.Context, running be.UUID, units share.Units) error {
	data, err := s.openRelocation()
	if err != nil || data == nil {
		return err
	}
	res, err := share.Recover(ctx, s.Root, running, data, units)
	if err != nil {
		return be.E(be.Recovery, "cannot end the relocation that was interrupted: %w", err)
	}
	for _, path := range res.Aside {
		s.Report.Warn("%s was not moved; a copy of it that holds what it does not is kept in /%s/%s", path, sharePoint, share.UndoneDir)
	}
	switch {
	case res.Keep == nil:
		return s.forgetShareRecord()
	case bytes.Equal(res.Keep, data):
		return nil
	}
	return state.WriteFile(s.Dir.Path(shareRecord), res.Keep)
}

// settleShareNow is for every command that writes: the services of a
// relocation that was cut need not wait for the next boot.
func (s *Session) settleShareNow(ctx context.Context) {
	if _, err := os.Lstat(s.Dir.Path(shareRecord)); err != nil || !s.shareIsLive() {
		return
	}
	if err := s.recoverShare(ctx, shareUnits(s.Root)); err != nil {
		s.Report.Warn("%v", err)
	}
}

func (s *Session) forgetShareRecord() error {
	if err := os.Remove(s.Dir.Path(shareRecord)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return state.Sync(s.Dir.Path("."))
}

func (s *Session) unmountVolume(ctx context.Context) error {
	if runtime.GOOS == "linux" {
		return share.Unstage(ctx, s.Root)
	}
	return s.Store.UnmountDir(ctx, s.liveShare())
}

func anyLinked(paths []share.Path) bool {
	for _, p := range paths {
		if p.State == share.Linked {
			return true
		}
	}
	return false
}

// shareProfile is what share init moves, as beadm.conf(5) has it.
func (t *Target) shareProfile() []string { return share.Profile("", t.Conf.SharePaths...) }

// ShareStatus says of every path of the profile what it is.
func (t *Target) ShareStatus(ctx context.Context) ([]share.Path, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.sharePaths(ctx)
}

// shareUnits are the services of the host; a guest's are its runtime's.
func shareUnits(root string) share.Units {
	if root != "/" {
		return nil
	}
	return &share.Systemd{}
}
