package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/activate"
	"beadm/activate/boot"
	"beadm/activate/boot/bootenv"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/fbsd"
	"beadm/activate/boot/grub"
	"beadm/activate/boot/illumos"
	"beadm/activate/boot/partition"
	"beadm/activate/boot/sdboot"
	"beadm/activate/boot/stub"
	"beadm/activate/boot/zbm"
	"beadm/be"
	"beadm/be/state"
)

// loaderOptions are those of setup.
type loaderOptions struct {
	goos    string // of this system
	kind    string // without one it is the system's own, or on Linux the one that started it
	dir     string // without one it is /boot/beadm for GRUB, and for systemd-boot where the ESP is mounted that it was started from
	kernels string // where GRUB reads them from; empty is what it was
	token   string // GRUB's; empty or "auto" if it is to be found out

	moved bool // dir is, or was, on /boot, and is moved
}

// moveBoot has the loader on the file system that is, or was, /boot.
func (o *loaderOptions) moveBoot(ctx context.Context, t *activate.Target, dryRun, mirrors bool) error {
	if o.kind == "" && !bySystemdBoot() {
		o.kind = "grub"
	}
	switch {
	case o.kind != "grub" && o.kind != "stub":
		return be.E(be.Usage, "--move-boot is for GRUB: with systemd-boot, mount the ESP on /efi, and have the kernels in /boot on the root file system")
	case o.kind == "grub" && o.dir != "":
		return be.E(be.Usage, "--move-boot is for the file system on /boot: give no --loader-dir")
	case mirrors:
		return be.E(be.Usage, "--move-boot is for one disk: give --loader-mirror when that is done")
	}
	at, err := t.BootFS(ctx, dryRun)
	if o.kind == "grub" {
		o.dir, o.moved = at, true
	}
	return err
}

// config turns the options into what the state keeps. A loader on a partition
// of its own is found again by that partition's UUID: in the first moment of a
// boot nothing of fstab is mounted. ZFSBootMenu has no directory, but the
// store's properties.
func (o loaderOptions) config(store be.Store) (state.LoaderConfig, error) {
	kind, dir := o.kind, o.dir
	switch o.token {
	case "", "auto":
		o.token = ""
	case grub.TokenEnv, grub.TokenBootNext:
		if kind != "grub" && kind != "" {
			return state.LoaderConfig{}, be.E(be.Usage, "--trial-token is for GRUB alone")
		}
		kind = "grub"
	default:
		return state.LoaderConfig{}, be.E(be.Usage, "there is no token %q: give auto, %s or %s", o.token, grub.TokenEnv, grub.TokenBootNext)
	}
	if !store.Caps().Hosts && kind != "stub" {
		return state.LoaderConfig{}, be.E(be.NoStore, "no boot loader starts what is in %s: such boot environments are for guests and for what is entered by chroot, whose loader is stub", store.Location())
	}
	own := o.goos == fbsd.Name || o.goos == illumos.Name
	switch {
	case kind != "":
	case own:
		kind = o.goos
	case bySystemdBoot():
		kind = "systemd-boot"
	default:
		kind = "grub"
	}
	if kind == fbsd.Name || kind == illumos.Name {
		if kind != o.goos {
			return state.LoaderConfig{}, be.E(be.NoStore, "the loader %s is that of another system, and this is %s", kind, o.goos)
		}
		if dir != "" {
			return state.LoaderConfig{}, be.E(be.Usage, "the loader of %s keeps its files in the pool: give no --loader-dir", kind)
		}
		return state.LoaderConfig{Kind: kind, Args: []string{}}, nil
	}
	switch {
	case !slices.Contains([]string{"", grub.KernelsAuto, grub.KernelsRoot, grub.KernelsLoader}, o.kernels):
		return state.LoaderConfig{}, be.E(be.Usage, "--kernels %q is none of auto, root and loader", o.kernels)
	case o.kernels == grub.KernelsRoot && kind == "systemd-boot":
		return state.LoaderConfig{}, be.E(be.Usage, "--kernels root is not for systemd-boot, which reads nothing but the ESP")
	case o.kernels != "" && kind == "zfsbootmenu":
		return state.LoaderConfig{}, be.E(be.Usage, "--kernels is not for ZFSBootMenu, which reads them from the root")
	case o.kernels != "" && kind == "stub":
		return state.LoaderConfig{}, be.E(be.Usage, "--kernels is not for stub, which starts none")
	}
	if kind == "zfsbootmenu" {
		if store.Caps().Kind != "zfs" || dir != "" {
			return state.LoaderConfig{}, be.E(be.Usage, "ZFSBootMenu starts boot environments on ZFS, and has no --loader-dir")
		}
		return state.LoaderConfig{Kind: kind, Dir: store.Location()}, nil
	}
	if dir == "" {
		dir = "/boot/beadm"
		if kind == "systemd-boot" {
			var err error
			if dir, err = findESP(); err != nil {
				return state.LoaderConfig{}, err
			}
		}
	}
	switch kind {
	case "grub", "systemd-boot":
		// With /boot on the ESP no boot environment would hold its kernel, and
		// all would write the same one.
		if !o.moved && isBoot(dir, "/boot", "/") {
			if kind == "grub" {
				return state.LoaderConfig{}, be.E(be.Unbootable, "GRUB's partition is mounted on /boot, which belongs to each boot environment: beadm setup --move-boot copies what is there into the root file system and mounts the partition on /boot/beadm")
			}
			return state.LoaderConfig{}, be.E(be.Unbootable, "the ESP is mounted on /boot, which belongs to each boot environment: mount it on /efi, and have the kernels in /boot on the root file system")
		}
		uuid, err := partition.At(dir)
		if err != nil {
			if o.dir == "" && bootApart() {
				err = fmt.Errorf("%w; /boot is a file system of its own: beadm setup --move-boot -n says how it can be that", err)
			}
			return state.LoaderConfig{}, err
		}
		// Without a GPT the file system's UUID has to do.
		part, _ := partition.PartUUID(dir)
		return state.LoaderConfig{Kind: kind, FSUUID: uuid, PartUUID: part, Below: partition.Below(dir), Token: o.token, Kernels: o.kernels}, nil
	case "stub":
		abs, err := filepath.Abs(dir)
		if err != nil {
			return state.LoaderConfig{}, err
		}
		if info, err := os.Stat(abs); err != nil || !info.IsDir() {
			return state.LoaderConfig{}, be.E(be.Usage, "--loader-dir %s is not a directory: make it first", dir)
		}
		return state.LoaderConfig{Kind: kind, Dir: abs, Args: []string{}}, nil
	}
	return state.LoaderConfig{}, be.E(be.Usage, "there is no loader %q: give grub, systemd-boot, zfsbootmenu, freebsd, illumos or stub", kind)
}

// mirrors are the further places that --loader-mirror names: nil if it was not
// given, and none if it says so.
func (o loaderOptions) mirrors(store be.Store, first state.LoaderConfig, dirs []string) ([]state.LoaderConfig, error) {
	if len(dirs) == 0 {
		return nil, nil
	}
	mirrors := []state.LoaderConfig{}
	if len(dirs) == 1 && dirs[0] == "none" {
		return mirrors, nil
	}
	if o.token == grub.TokenBootNext {
		return nil, be.E(be.Usage, "--trial-token bootnext is not for a loader on several disks, of which one is armed")
	}
	for _, dir := range dirs {
		if dir == "" || dir == "none" {
			return nil, be.E(be.Usage, "--loader-mirror takes a directory, or once none")
		}
		o.kind, o.dir = first.Kind, dir
		m, err := o.config(store)
		if err != nil {
			return nil, fmt.Errorf("--loader-mirror %s: %w", dir, err)
		}
		for _, other := range append([]state.LoaderConfig{first}, mirrors...) {
			if m.Place().Name() == other.Place().Name() {
				return nil, be.E(be.Usage, "--loader-mirror %s: its partition %s is named twice", dir, m.Place().Name())
			}
		}
		mirrors = append(mirrors, m)
	}
	return mirrors, nil
}

// isBoot says whether dir is bootDir, whatever its name, or on the file system
// that is mounted there.
func isBoot(dir, bootDir, root string) bool {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	if abs == bootDir {
		return true
	}
	var dev [3]uint64
	for i, path := range []string{abs, bootDir, root} {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			return false
		}
		dev[i] = uint64(st.Dev)
	}
	return dev[0] == dev[1] && dev[1] != dev[2]
}

// bootApart says whether /boot is another file system than /.
func bootApart() bool {
	var root, boot unix.Stat_t
	return unix.Stat("/", &root) == nil && unix.Stat("/boot", &boot) == nil && root.Dev != boot.Dev
}

// openLoader makes activate.Target's OpenLoader for the boot environments of a
// store.
func openLoader(store be.Store) func(context.Context, state.LoaderConfig, string) (boot.Loader, error) {
	return func(ctx context.Context, conf state.LoaderConfig, mountAt string) (boot.Loader, error) {
		switch conf.Kind {
		case "grub":
			if err := mountLoader(conf, mountAt); err != nil {
				return nil, err
			}
			// In the first moment of a boot nobody has mounted it. Where it
			// cannot be, the loader says so itself, if it wanted it.
			_ = efivar.MountFS()
			cfg := grub.Config{Dir: mountAt, Token: conf.Token, Kernels: conf.Kernels, Hook: true}
			if conf.OneOf {
				cfg.Self = conf.Place().Name()
				cfg.Reached = grub.ReachedAs(cfg.Self, conf.FSUUID)
				cfg.Token = grub.TokenEnv // of one disk, as the others must not have it
			}
			return grub.New(cfg), nil
		case "systemd-boot":
			if err := mountLoader(conf, mountAt); err != nil {
				return nil, err
			}
			_ = efivar.MountFS()
			return sdboot.New(sdboot.Config{Dir: mountAt, OneOf: conf.OneOf}), nil
		case "zfsbootmenu":
			_ = efivar.MountFS()
			return zbm.New(zbm.Config{Root: conf.Dir}), nil
		case fbsd.Name, illumos.Name:
			return poolLoader(conf.Kind, store), nil
		case "stub":
			if _, err := os.Stat(conf.Dir); conf.OneOf && err != nil {
				return nil, be.E(be.NoStore, "the loader's directory is not there: %w", err)
			}
			return stub.New(stub.Config{Dir: conf.Dir}), nil
		}
		return nil, be.E(be.NoStore, "the state names a loader %q, which this beadm does not know: use the beadm that set it up", conf.Kind)
	}
}

// poolLoader is the loader of a system that has one of its own, which needs
// no files.
func poolLoader(kind string, store be.Store) *bootenv.Loader {
	if kind == illumos.Name {
		return illumos.New(illumos.Config{BERoot: store.Location()})
	}
	return fbsd.New(fbsd.Config{BERoot: store.Location()})
}

// mountLoader mounts the loader's partition unless another beadm has it at
// the same place already.
func mountLoader(conf state.LoaderConfig, dir string) error {
	if at, err := partition.At(dir); err == nil && at == conf.FSUUID {
		if part, err := partition.PartUUID(dir); conf.PartUUID == "" || err == nil && strings.EqualFold(part, conf.PartUUID) {
			return nil
		}
	}
	return partition.Mount(conf.PartUUID, conf.FSUUID, dir)
}

// bySystemdBoot says whether systemd-boot started this system.
func bySystemdBoot() bool { return strings.HasPrefix(loaderText(efivar.Info), "systemd-boot") }

// loaderText is a variable that the loader left; none is empty.
func loaderText(v efivar.Var) string {
	b, err := efivar.Dir(efivar.Mount).Read(v)
	if err != nil {
		return ""
	}
	s, _ := efivar.DecodeString(b)
	return s
}

// findESP looks where bootctl(1) does for the ESP that the loader names.
func findESP() (string, error) {
	want := loaderText(efivar.PartUUID)
	places := []string{"/efi", "/boot", "/boot/efi"}
	for _, dir := range places {
		if id, err := partition.PartUUID(dir); err == nil && want != "" && strings.EqualFold(id, want) {
			return dir, nil
		}
	}
	return "", be.E(be.NoStore, "the ESP that systemd-boot was started from is mounted at none of %s: mount it, or give --loader-dir", strings.Join(places, ", "))
}
