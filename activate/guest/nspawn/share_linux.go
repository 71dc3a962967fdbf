package nspawn

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/activate/guest"
	"beadm/be"
)

// MayShare refuses a machine whose root systemd-nspawn maps to the ids of its
// user namespace: 252 cannot do that with anything mounted below the root
// ("Failed to set up ID mapped mounts"), and the machine would not start.
func (r *Runtime) MayShare(ctx context.Context, g guest.Guest) error {
	p, running, err := r.process(g)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(g.Root, &st); err != nil {
		return be.E(be.NotFound, "cannot look at the root of %s: %w", g.Name, err)
	}
	if st.Uid != 0 {
		return nil // its files have those ids themselves
	}
	mapped := false
	switch {
	case running:
		shift, _ := uidShift(p.leader, g.Root)
		mapped = shift != 0
	case r.cfg.Systemd:
		// Its service gives -U, and systemd.nspawn(5) may say otherwise.
		mapped = mapsUsers(settings(g.Name))
	}
	if mapped {
		return be.E(be.Decision, "cannot share directories of %s: systemd-nspawn does not start a machine with mapped ids when something is mounted below its root; say PrivateUsers=no or PrivateUsersOwnership=chown below [Exec] and [Files] in /etc/systemd/nspawn/%s.nspawn and restart it", g.Name, g.Name)
	}
	return nil
}

// settings is the first file that systemd.nspawn(5) would read.
func settings(name string) []byte {
	for _, dir := range []string{"/etc/systemd/nspawn", "/run/systemd/nspawn"} {
		if data, err := os.ReadFile(filepath.Join(dir, name+".nspawn")); err == nil {
			return data
		}
	}
	return nil
}

// mapsUsers says whether a machine of systemd-nspawn@.service with these
// settings has its root mapped.
func mapsUsers(settings []byte) bool {
	maps := true
	lines := bufio.NewScanner(bytes.NewReader(settings))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		switch value = strings.ToLower(strings.TrimSpace(value)); strings.TrimSpace(key) {
		case "PrivateUsers":
			maps = value != "no" && value != "false" && value != "off" && value != "0" && value != "n" && value != "f"
		case "PrivateUsersOwnership":
			if value == "chown" {
				return false
			}
		}
	}
	return maps
}
