package nspawn

import (
	"fmt"
	"os"

	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/rooted"
)

// inits are what systemd-nspawn starts, the first that is there.
var inits = []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/sbin/init"}

// startable says, as an error, why the machine cannot be started. That it has
// no init systemd-nspawn says only on the machine's console.
func startable(g guest.Guest) error {
	if info, err := os.Stat(g.Root); err != nil || !info.IsDir() {
		return be.E(be.NotFound, "cannot start %s: there is no directory %s", g.Name, g.Root)
	}
	if err := guest.CheckRoot(g.Root); err != nil {
		return fmt.Errorf("cannot start %s: %w", g.Name, err)
	}
	root, err := rooted.Open(g.Root)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", g.Name, err)
	}
	defer root.Close()
	for _, name := range inits {
		if _, err = root.Stat(name); err == nil {
			return nil
		}
	}
	return be.E(be.Unbootable, "cannot start %s: there is no init in %s: %w", g.Name, g.Root, err)
}

// runnable says, as an error, why no command can be run in root.
func runnable(root string) error {
	if info, err := os.Lstat(root); err != nil || !info.IsDir() {
		return be.E(be.NotFound, "cannot run anything in %s: it is not a directory", root)
	}
	return guest.CheckRoot(root)
}
