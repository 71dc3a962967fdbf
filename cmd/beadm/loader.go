package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/activate/boot"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/grub"
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
// Without a kind it is the one that started this system. Without a directory
// it is /boot/beadm for GRUB, and for systemd-boot the place where the ESP is
// mounted that it was started from.
func loaderConfig(kind, dir string) (state.LoaderConfig, error) {
	if kind == "" {
		kind = "grub"
		if bySystemdBoot() {
			kind = "systemd-boot"
		}
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
		// Without a GPT the file system's UUID has to do.
		part, _ := partition.PartUUID(dir)
		return state.LoaderConfig{Kind: kind, FSUUID: uuid, PartUUID: part}, nil
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
	return state.LoaderConfig{}, be.E(be.Usage, "there is no loader %q: give grub, systemd-boot or stub", kind)
}

// loaderMirrors are the further places that --loader-mirror names: nil if it
// was not given, and none if it says so.
func loaderMirrors(first state.LoaderConfig, dirs []string) ([]state.LoaderConfig, error) {
	if len(dirs) == 0 {
		return nil, nil
	}
	mirrors := []state.LoaderConfig{}
	if len(dirs) == 1 && dirs[0] == "none" {
		return mirrors, nil
	}
	for _, dir := range dirs {
		if dir == "" || dir == "none" {
			return nil, be.E(be.Usage, "--loader-mirror takes a directory, or once none")
		}
		m, err := loaderConfig(first.Kind, dir)
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

// openLoader implements activate.Target's OpenLoader.
func openLoader(ctx context.Context, conf state.LoaderConfig, mountAt string) (boot.Loader, error) {
	switch conf.Kind {
	case "grub":
		if err := mountLoader(conf, mountAt); err != nil {
			return nil, err
		}
		cfg := grub.Config{Dir: mountAt}
		if conf.OneOf {
			cfg.Self = conf.Place().Name()
			cfg.Reached = grub.ReachedAs(cfg.Self)
		}
		return grub.New(cfg), nil
	case "systemd-boot":
		if err := mountLoader(conf, mountAt); err != nil {
			return nil, err
		}
		// In the first moment of a boot nobody has mounted it. Where it cannot
		// be, the loader says so itself, and what it wanted it for.
		_ = efivar.MountFS()
		return sdboot.New(sdboot.Config{Dir: mountAt, OneOf: conf.OneOf}), nil
	case "stub":
		if _, err := os.Stat(conf.Dir); conf.OneOf && err != nil {
			return nil, be.E(be.NoStore, "the loader's directory is not there: %w", err)
		}
		return stub.New(stub.Config{Dir: conf.Dir}), nil
	}
	return nil, be.E(be.NoStore, "the state names a loader %q, which this beadm does not know: use the beadm that set it up", conf.Kind)
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
