package guest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"beadm/be"
)

// CheckRoot says, as an error, why nothing may be started in root: where a
// runtime puts device nodes and its own directories before it has entered the
// root, a link in their place leads it into the host. systemd-nspawn 252
// follows such a link. Nobody may be able to change the root meanwhile.
func CheckRoot(root string) error {
	names := []string{"dev", "proc", "run", "sys"}
	if runtime.GOOS != "linux" {
		names = names[:3] // FreeBSD's /sys is a link
	}
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return be.E(be.Unbootable, "cannot look at the root %s: %w", root, err)
		}
		if !info.IsDir() {
			return be.E(be.Unbootable, "nothing may be started in %s: its /%s is not a directory, and could lead out of it", root, name)
		}
	}
	return nil
}
