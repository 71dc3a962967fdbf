package illumos

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"beadm/be"
	"beadm/be/rooted"
)

//go:embed beadm.xml
var manifest []byte

// Manifest is where the service's manifest is imported from at each boot,
// before any other service is started (system/early-manifest-import).
const Manifest = "/lib/svc/manifest/system/beadm.xml"

// PutHooks has SMF run beadm boot in the root.
func PutHooks(root *rooted.Root) error {
	if old, err := root.ReadFile(Manifest); err == nil && bytes.Equal(old, manifest) {
		return nil
	}
	if err := root.MkdirAll("/lib/svc/manifest/system", 0o755); err != nil {
		return err
	}
	if err := root.WriteFileAtomic(Manifest, manifest, rooted.Attr{Mode: 0o444}); err != nil {
		return fmt.Errorf("cannot write %s: %w", Manifest, err)
	}
	return nil
}

// CheckRoot returns the kernel of the root mounted at dir, or why a trial of
// it could not start or not come back. The error is of kind be.Unbootable.
func CheckRoot(ctx context.Context, dir string) (kernel string, err error) {
	root, err := rooted.Open(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	// The loader takes nothing for a root without it (efi/loader/main.c,
	// sanity_check_currdev); with GRUB it is not there.
	if _, err := root.Stat("/boot/defaults/loader.conf"); err != nil {
		return "", be.E(be.Unbootable, "the loader would not take it for a system: %w", err)
	}
	for _, f := range []struct{ path, magic string }{
		{"/platform/i86pc/kernel/amd64/unix", "\x7fELF"},
		{"/platform/i86pc/amd64/boot_archive", ""},
	} {
		at, err := root.Resolve(f.path)
		if err != nil {
			return "", be.E(be.Unbootable, "cannot read %s: %w", f.path, err)
		}
		file, err := root.OpenNoFollow(at)
		if errors.Is(err, fs.ErrNotExist) {
			return "", be.E(be.Unbootable, "%s is missing", f.path)
		}
		if err != nil {
			return "", be.E(be.Unbootable, "cannot read %s: %w", f.path, err)
		}
		head := make([]byte, 4)
		_, err = io.ReadFull(file, head)
		file.Close()
		if err != nil || f.magic != "" && string(head) != f.magic {
			return "", be.E(be.Unbootable, "%s is not what it should be", f.path)
		}
		if kernel == "" {
			kernel = at
		}
	}
	if have, err := root.ReadFile(Manifest); err != nil || !bytes.Equal(have, manifest) {
		return "", be.E(be.Unbootable, "beadm boot would not be run in it: %s is not this beadm's; mount it and run beadm setup DIR", Manifest)
	}
	return kernel, nil
}
