package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/activate/boot"
	"beadm/activate/boot/bootenv"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/fbsd"
	"beadm/activate/boot/grub"
	"beadm/activate/boot/illumos"
	"beadm/activate/boot/partition"
	"beadm/activate/boot/sdboot"
	"beadm/activate/boot/stub"
	"beadm/be"
	"beadm/be/state"
)

// loaderConfig turns the options of setup into what the state keeps. A loader
// on a partition of its own is found again by that partition's UUID: in the
// first moment of a boot nothing of fstab is mounted.
//
// Without a kind it is that of the system goos, or on Linux the one that
// started it. Without a directory it is /boot/beadm for GRUB, and for
// systemd-boot the place where the ESP is mounted that it was started from.
func loaderConfig(goos, kind, dir string) (state.LoaderConfig, error) {
	own := goos == fbsd.Name || goos == illumos.Name
	switch {
	case kind != "":
	case own:
		kind = goos
	case bySystemdBoot():
		kind = "systemd-boot"
	default:
		kind = "grub"
	}
	if kind == fbsd.Name || kind == illumos.Name {
		if kind != goos {
			return state.LoaderConfig{}, be.E(be.NoStore, "the loader %s is that of another system, and this is %s", kind, goos)
		}
		if dir != "" {
			return state.LoaderConfig{}, be.E(be.Usage, "the loader of %s keeps its files in the pool: give no --loader-dir", kind)
		}
		return state.LoaderConfig{Kind: kind, Args: []string{}}, nil
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
		if kind == "systemd-boot" && isBoot(dir, "/boot", "/") {
			return state.LoaderConfig{}, be.E(be.Unbootable, "the ESP is mounted on /boot, which belongs to each boot environment: mount it on /efi, and have the kernels in /boot on the root file system")
		}
		uuid, err := partition.At(dir)
		if err != nil {
			return state.LoaderConfig{}, err
		}
		return state.LoaderConfig{Kind: kind, FSUUID: uuid}, nil
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
	return state.LoaderConfig{}, be.E(be.Usage, "there is no loader %q: give grub, systemd-boot, freebsd, illumos or stub", kind)
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

// openLoader makes activate.Target's OpenLoader for the boot environments of a
// store.
func openLoader(store be.Store) func(context.Context, state.LoaderConfig, string) (boot.Loader, error) {
	return func(ctx context.Context, conf state.LoaderConfig, mountAt string) (boot.Loader, error) {
		switch conf.Kind {
		case "grub":
			if err := mountLoader(conf.FSUUID, mountAt); err != nil {
				return nil, err
			}
			return grub.New(grub.Config{Dir: mountAt}), nil
		case "systemd-boot":
			if err := mountLoader(conf.FSUUID, mountAt); err != nil {
				return nil, err
			}
			// In the first moment of a boot nobody has mounted it. Where it cannot
			// be, the loader says so itself, and what it wanted it for.
			_ = efivar.MountFS()
			return sdboot.New(sdboot.Config{Dir: mountAt}), nil
		case fbsd.Name, illumos.Name:
			return poolLoader(conf.Kind, store), nil
		case "stub":
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
func mountLoader(uuid, dir string) error {
	if at, err := partition.At(dir); err == nil && at == uuid {
		return nil
	}
	return partition.Mount(uuid, dir)
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
