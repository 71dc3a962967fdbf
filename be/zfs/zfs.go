// Package zfs keeps boot environments as datasets below POOL/ROOT.
//
// A boot environment is a file system that is a child of POOL/ROOT, with all
// file systems below it. Volumes (zvols) there are none of ours: they are not
// cloned, and a boot environment that holds one is not destroyed.
//
// What is on disk beside the datasets are user properties:
//
//	org.beadm:uuid, org.opensolaris.libbe:uuid   its UUID
//	org.beadm:description, org.opensolaris.libbe:policy
//	org.beadm:incomplete   create or destroy: an operation that did not end
//	org.beadm:sealed       read-only, but open: readonly=on comes back when it is closed
//	org.beadm:auto         of a snapshot: made for Create (create), of several roots
//	                       at once (joint); removed with its last clone
//	org.beadm:boot         of a root: the dataset of another pool that its /boot is in;
//	                       none, of a snapshot made while that was not there
//	org.beadm:of           of a /boot there: the UUID of the root; of a snapshot of
//	                       one: made as half of the root's
//
// All are inherited and travel with zfs send, so they count only where their
// source is local. Every dataset made here has canmount=noauto or off:
// nothing but a mount that names it, or an initramfs that was told to, mounts
// it, so that no boot environment ever takes another's place.
//
// A root may have its /boot in another pool, which a loader can read where it
// cannot read the root's: BOOTPOOL/BOOT/NAME, as OpenZFS' guides and Ubuntu's
// installer lay it out. Adopt finds it by what is mounted on /boot of the running
// root; from then on it is one of the boot environment's file systems, tied to
// its root by the UUID, and Create makes another for each clone. Which is whose
// does not go by names, so that all is well between the two halves of a Rename.
//
// Every change is one transaction of its pool: when the command returns, a
// power cut does not take it back. Two pools have no transaction in common, so
// that a snapshot of a boot environment in both is not one instant: that of
// /boot is taken first, and so each kernel in it that is being installed has its
// modules in the root. The root says what is true of the whole: its mark is there
// before anything of a clone's /boot is, and goes last; its snapshot is the
// last to come and to go; its name is the first to change.
package zfs

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"

	"beadm/be"
)

// Config says where the store is.
type Config struct {
	// BERoot is the dataset that holds the boot environments, POOL/ROOT.
	// Empty: the parent of what is mounted at Root.
	BERoot string

	// Root is the target's root directory; empty means "/". What is mounted
	// there is the running boot environment.
	Root string

	// Logger gets one line for each command and system call.
	Logger Logger
}

// Logger is what logrus and others have. Several goroutines may call it.
type Logger interface {
	Debugf(format string, args ...any)
}

// User properties.
const (
	propUUID        = "org.beadm:uuid"
	propLibbeUUID   = "org.opensolaris.libbe:uuid"
	propDescription = "org.beadm:description"
	propPolicy      = "org.opensolaris.libbe:policy"
	propIncomplete  = "org.beadm:incomplete"
	propAuto        = "org.beadm:auto"
	propSealed      = "org.beadm:sealed"
	propBoot        = "org.beadm:boot"
	propOf          = "org.beadm:of"
)

// Store is the boot environments below one dataset.
type Store struct {
	cfg    Config
	root   string // POOL/ROOT
	pool   string
	now    string // dataset mounted at cfg.Root; empty if that is none of ours
	guid   string // of root, once known
	memory *memory
	effect func(when, what string) error
	plain  map[string]bool // roots that were mounted here, and not opened for it

	bootPools []string // other pools that were seen to hold a /boot
	late      late
}

const (
	before = "before"
	after  = "after"
)

// Open finds the store. It is of kind NoStore where there is none. What is
// mounted at / needs no command to be found.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	findTools()
	now, err := datasetAt(cfg.Root)
	if err != nil && cfg.BERoot == "" {
		return nil, be.E(be.NoStore, "no ZFS boot environments at %s: %w", cfg.Root, err)
	}
	s := &Store{cfg: cfg, root: strings.Trim(cfg.BERoot, "/")}
	if s.root == "" {
		if now == "" || strings.Contains(now, "@") {
			return nil, be.E(be.NoStore, "no ZFS boot environments at %s: no dataset is mounted there; give --beroot POOL/ROOT", cfg.Root)
		}
		s.root = parent(now)
		if !strings.Contains(s.root, "/") {
			return nil, be.E(be.NoStore, "no ZFS boot environments at %s: %s is mounted there, which has no dataset of its own for boot environments above it, like POOL/ROOT", cfg.Root, now)
		}
	}
	if !datasetRule.MatchString(s.root) {
		return nil, be.E(be.Usage, "%q is not the name of a dataset: give --beroot POOL/ROOT", cfg.BERoot)
	}
	s.pool, _, _ = strings.Cut(s.root, "/")
	if err := checkPool(s.pool); err != nil {
		return nil, err
	}
	if parent(now) == s.root {
		s.now = now
	}
	if cfg.BERoot != "" || cfg.Root != "/" {
		if err := s.checkRoot(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// checkRoot makes sure that the dataset above the boot environments is one
// for them: the parent of a jail's root may as well hold everybody's jails.
func (s *Store) checkRoot(ctx context.Context) error {
	t, err := s.read(ctx, "filesystem", 0, s.root, "guid", "canmount", "mountpoint")
	if be.KindOf(err) == be.NotFound {
		return be.E(be.NoStore, "no ZFS boot environments in %s: %w", s.root, err)
	}
	if err != nil {
		return problem(err, "cannot read %s", s.root)
	}
	d := t.by[s.root]
	if d == nil {
		return be.E(be.NoStore, "no ZFS boot environments in %s: it is not a file system", s.root)
	}
	s.guid = d.value("guid")
	if s.cfg.BERoot == "" && d.value("canmount") != "off" && strings.HasPrefix(d.value("mountpoint"), "/") {
		return be.E(be.NoStore, "no ZFS boot environments at %s: %s, the parent of what is mounted there, is mounted too and holds other things; give --beroot POOL/ROOT", s.cfg.Root, s.root)
	}
	return nil
}

// findTools makes sure that zfs and zpool are found where the environment is
// that of a daemon or of the first process.
func findTools() {
	if _, err := exec.LookPath("zfs"); err != nil {
		os.Setenv("PATH", strings.Trim(os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", ":"))
	}
}

// Close does nothing: nothing is open between two calls.
func (s *Store) Close() error { return nil }

// Caps never change.
func (s *Store) Caps() be.Caps {
	return be.Caps{Kind: "zfs", Snapshots: true, Atomic: true, Hosts: true, Promote: true}
}

// Location is POOL/ROOT.
func (s *Store) Location() string { return s.root }

// GUID is that of POOL/ROOT, in decimal; empty if it cannot be read.
func (s *Store) GUID() string {
	if s.guid == "" {
		if t, err := s.read(context.Background(), "filesystem", 0, s.root, "guid"); err == nil && t.by[s.root] != nil {
			s.guid = t.by[s.root].value("guid")
		}
	}
	return s.guid
}

// RootRef names the dataset by its path in the pool.
func (s *Store) RootRef(ctx context.Context, name string) (be.RootRef, error) {
	t, err := s.find(ctx, name)
	if err != nil {
		return be.RootRef{}, problem(err, "cannot name the root of boot environment %s", name)
	}
	needs, may, err := s.features(ctx)
	if err != nil {
		return be.RootRef{}, problem(err, "cannot see which features of pool %s a loader must know", s.pool)
	}
	ds := s.dataset(name)
	if t.by[ds].local(propBoot) != "" {
		needs = append(slices.Clip(needs), be.NeedsBootPool)
	}
	return be.RootRef{
		FS:      "zfs",
		Label:   s.pool,
		Prefix:  strings.TrimPrefix(ds, s.pool) + "@",
		Args:    []string{"root=ZFS=" + ds},
		Needs:   needs,
		MayNeed: may,
	}, nil
}

// SetDefaultRoot sets the pool's bootfs.
func (s *Store) SetDefaultRoot(ctx context.Context, name string) error {
	_, err := s.find(ctx, name)
	if err == nil {
		err = s.change(ctx, "zpool", "set", "bootfs="+s.dataset(name), s.pool)
	}
	return problem(err, "cannot make %s the default root", name)
}

// Flush waits until everything is in the pool's main tree: what fsync wrote
// is only in the intent log, which no loader reads.
func (s *Store) Flush(ctx context.Context) error {
	what := append([]string{"zpool", "sync", s.pool}, s.bootPools...)
	// It changes nothing that anybody asks for.
	err := s.do(strings.Join(what, " "), func() error {
		_, err := s.output(ctx, what...)
		return err
	})
	return problem(err, "cannot flush pool %s", s.pool)
}

func (s *Store) dataset(name string) string { return s.root + "/" + name }

// parent is the dataset above one; empty for a pool.
func parent(ds string) string {
	i := strings.LastIndexByte(ds, '/')
	if i < 0 {
		return ""
	}
	return ds[:i]
}

// within reports whether ds is top or below it. Snapshots are not.
func within(ds, top string) bool {
	return ds == top || strings.HasPrefix(ds, top+"/")
}
