package main

import (
	"context"
	"os"
	"path/filepath"

	"beadm/activate/boot"
	"beadm/activate/boot/grub"
	"beadm/activate/boot/partition"
	"beadm/activate/boot/stub"
	"beadm/be"
	"beadm/be/state"
)

// loaderConfig turns the options of setup into what the state keeps. A loader
// on a partition of its own is found again by that partition's UUID: in the
// first moment of a boot nothing of fstab is mounted.
func loaderConfig(kind, dir string) (state.LoaderConfig, error) {
	switch kind {
	case "grub":
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
	return state.LoaderConfig{}, be.E(be.Usage, "there is no loader %q: give grub or stub", kind)
}

// openLoader implements activate.Target's OpenLoader.
func openLoader(ctx context.Context, conf state.LoaderConfig, mountAt string) (boot.Loader, error) {
	switch conf.Kind {
	case "grub":
		if err := mountLoader(conf.FSUUID, mountAt); err != nil {
			return nil, err
		}
		return grub.New(grub.Config{Dir: mountAt}), nil
	case "stub":
		return stub.New(stub.Config{Dir: conf.Dir}), nil
	}
	return nil, be.E(be.NoStore, "the state names a loader %q, which this beadm does not know: use the beadm that set it up", conf.Kind)
}

// mountLoader mounts the loader's partition unless another beadm has it at
// the same place already.
func mountLoader(uuid, dir string) error {
	if at, err := partition.At(dir); err == nil && at == uuid {
		return nil
	}
	return partition.Mount(uuid, dir)
}
