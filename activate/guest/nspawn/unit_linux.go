package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/state"
)

// settleRoot has the machine's service name its directory while that is
// read-only, and no longer. It comes before a start: the next boot of the host
// starts the same.
func settleRoot(ctx context.Context, g guest.Guest) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(g.Root, &fs); err != nil {
		return fmt.Errorf("cannot start %s: cannot look at %s: %w", g.Name, g.Root, err)
	}
	if fs.Flags&unix.ST_RDONLY == 0 {
		did, err := dropRoot(g.Name)
		if err != nil || !did {
			return err
		}
		return reload(ctx)
	}
	unit := "systemd-nspawn@" + g.Name + ".service"
	cat, err := exec.CommandContext(ctx, "systemctl", "cat", "--no-pager", "--", unit).Output()
	if err != nil {
		return fmt.Errorf("cannot start %s: cannot read %s: %w", g.Name, unit, err)
	}
	text, err := namesRoot(string(cat), g.Root)
	if err != nil {
		return be.E(be.Unbootable, "cannot start %s with a root that is read-only: %w in %s: have it name the directory with --directory=%s", g.Name, err, unit, g.Root)
	}
	if text == "" {
		// Whoever wrote it may have been cut before systemd read it.
		out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=NeedDaemonReload", "--value", "--", unit).Output()
		if err != nil {
			return fmt.Errorf("cannot start %s: cannot see whether systemd has read %s: %w", g.Name, unit, err)
		}
		if strings.TrimSpace(string(out)) == "no" {
			return nil
		}
		return reload(ctx)
	}
	file := rootDropIn(g.Name)
	err = os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = state.WriteFile(file, []byte(text))
	}
	if err == nil {
		err = os.Chmod(file, 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot start %s with a root that is read-only: %w", g.Name, err)
	}
	return reload(ctx)
}

func rootDropIn(machine string) string {
	return filepath.Join(unitDir, "systemd-nspawn@"+machine+".service.d", dropIn)
}

// dropRoot takes away what settleRoot wrote.
func dropRoot(machine string) (did bool, err error) {
	file := rootDropIn(machine)
	if err := os.Remove(file); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("cannot have the service of %s as it was: %w", machine, err)
	}
	os.Remove(filepath.Dir(file)) // if nobody else has one there
	return true, nil
}

func reload(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "systemctl", "daemon-reload").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot have systemd read its units again: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Tidy takes from services what was written for machines that are no longer
// kept. It may be repeated.
func Tidy(ctx context.Context, kept func(machine string) bool) error {
	files, err := filepath.Glob(filepath.Join(unitDir, "systemd-nspawn@*.service.d", dropIn))
	if err != nil {
		return err
	}
	did := false
	for _, file := range files {
		name := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(filepath.Dir(file)), ".service.d"), "systemd-nspawn@")
		if kept(name) {
			continue
		}
		dropped, err := dropRoot(name)
		if err != nil {
			return err
		}
		did = did || dropped
	}
	if !did {
		return nil
	}
	return reload(ctx)
}
