package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/grub"
	"beadm/activate/boot/grub/simgrub"
	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/mirror"
	"beadm/activate/boot/sdboot"
	"beadm/activate/boot/sdboot/simsdboot"
	"beadm/activate/boot/simfirmware"
	"beadm/be"
)

// disks are two of them, one machine's, each with a loader.
type disks struct {
	t       *testing.T
	sdboot  bool
	dirs    [2]string
	vars    string // the firmware's, for systemd-boot
	roots   string
	away    [2]bool
	primary string // what the caller keeps durably
	started int    // the disk that the machine was started from last
	trouble []error
}

var names = [2]string{"11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"}

func newDisks(t *testing.T, withSystemdBoot bool) *disks {
	t.Helper()
	d := &disks{t: t, sdboot: withSystemdBoot}
	top, err := os.MkdirTemp("/dev/shm", "beadm-mirror-")
	if err != nil {
		top = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	for i, name := range []string{"disk1", "disk2"} {
		d.dirs[i] = filepath.Join(top, name)
		write(t, filepath.Join(d.dirs[i], "EFI/systemd/systemd-bootx64.efi"), "MZ")
	}
	d.vars, d.roots = filepath.Join(top, "vars"), filepath.Join(top, "roots")
	for _, dir := range []string{d.vars, d.roots} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if withSystemdBoot {
		if err := d.systemdBoot(0).Up(); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func write(t *testing.T, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (d *disks) systemdBoot(i int) simsdboot.Machine {
	return simsdboot.Machine{Dir: d.dirs[i], Vars: simfirmware.Vars{Dir: d.vars}, Partition: names[i]}
}

// loader opens what is there, and keeps the primary as a caller has to: durably
// before anything is changed.
func (d *disks) loader(step func(string) error) *mirror.Loader {
	d.t.Helper()
	cfg := mirror.Config{Primary: d.primary, SharedToken: d.sdboot, Trouble: func(name string, err error) error {
		if errors.Is(err, errCut) {
			return err
		}
		d.trouble = append(d.trouble, fmt.Errorf("%s: %w", name, err))
		return nil
	}}
	disk := durable.Disk{Step: step, Settle: func(string) error { return nil }}
	for i, dir := range d.dirs {
		m := mirror.Member{Name: names[i], Started: d.started == i}
		switch {
		case d.away[i]:
			m.Away = be.E(be.NoStore, "the disk is not there")
		case d.sdboot:
			m.Copy = rooted{sdboot.New(sdboot.Config{Dir: dir, OneOf: true, Variables: simfirmware.Vars{Dir: d.vars}, Disk: disk,
				PartUUID: func(string) (string, error) { return names[i], nil }}), d}
		default:
			m.Copy = grub.New(grub.Config{Dir: dir, AnyMedium: true, Reached: grub.Vouched, Self: names[i], Disk: disk})
		}
		cfg.Members = append(cfg.Members, m)
	}
	l, err := mirror.New(d.t.Context(), cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.primary = l.Primary()
	return l
}

// ready is loader, after what a command does first.
func (d *disks) ready() *mirror.Loader {
	d.t.Helper()
	l := d.loader(nil)
	if err := l.Mend(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	if s, err := l.State(d.t.Context()); err == nil && s.Trial == "" && s.Tried == "" {
		d.primary = l.Successor(d.t.Context())
		l.Use(d.primary)
	}
	return l
}

// rooted gives every entry a root with a kernel of its own.
type rooted struct {
	*sdboot.Loader
	d *disks
}

func (l rooted) in(e boot.Entry) boot.Entry {
	if boot.ValidID(e.ID) {
		e.Dir = filepath.Join(l.d.roots, e.ID)
		write(l.d.t, filepath.Join(e.Dir, "vmlinuz"), "MZ kernel of "+e.ID)
		write(l.d.t, filepath.Join(e.Dir, "initrd.img"), "an initrd that all share")
	}
	return e
}
func (l rooted) Install(ctx context.Context, e boot.Entry) error {
	return l.Loader.Install(ctx, l.in(e))
}
func (l rooted) Put(ctx context.Context, e boot.Entry) error { return l.Loader.Put(ctx, l.in(e)) }
func (l rooted) CopyEntry(ctx context.Context, from boot.Loader, id string) error {
	return l.Loader.CopyEntry(ctx, from.(rooted).Loader, id)
}

// start is what the firmware and the loader of disk i do.
func (d *disks) start(i int) (loadertest.Played, error) {
	d.started = i
	if d.sdboot {
		b, err := d.systemdBoot(i).PowerOn()
		id, trial := boot.Cmdline([]byte(b.Options))
		return loadertest.Played{ID: id, Trial: trial}, err
	}
	b, err := simgrub.Machine{Dir: d.dirs[i]}.PowerOn()
	return loadertest.Played{ID: b.ID, Trial: b.Trial}, err
}

// plays is start on copies: nothing changes.
func (d *disks) plays(i int) loadertest.Played {
	d.t.Helper()
	c := d.copy()
	p, err := c.start(i)
	if err != nil {
		d.t.Errorf("disk %d boots nothing: %v", i+1, err)
	}
	return p
}

func (d *disks) copy() *disks {
	d.t.Helper()
	c := *d
	top, err := os.MkdirTemp("/dev/shm", "beadm-mirror-")
	if err != nil {
		top = d.t.TempDir()
	}
	d.t.Cleanup(func() { os.RemoveAll(top) })
	clone := func(from string) string {
		to := filepath.Join(top, filepath.Base(from))
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			d.t.Fatal(err)
		}
		return to
	}
	c.dirs = [2]string{clone(d.dirs[0]), clone(d.dirs[1])}
	c.vars = clone(d.vars)
	return &c
}

func (d *disks) installed(letters ...string) *mirror.Loader {
	d.t.Helper()
	l := d.loader(nil)
	for i, letter := range letters {
		e, do := loadertest.Entry(letter, "BE "+letter), l.Put
		if i == 0 {
			do = l.Install
		}
		if err := do(d.t.Context(), e); err != nil {
			d.t.Fatal(err)
		}
	}
	d.calm()
	return l
}

// calm fails if there was trouble with a mirror.
func (d *disks) calm() {
	d.t.Helper()
	for _, err := range d.trouble {
		d.t.Error(err)
	}
	d.trouble = nil
}

func (d *disks) ok(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

var errCut = errors.New("power cut")

func both(t *testing.T, f func(t *testing.T, withSystemdBoot bool)) {
	t.Run("grub", func(t *testing.T) { f(t, false) })
	t.Run("systemd-boot", func(t *testing.T) { f(t, true) })
}
