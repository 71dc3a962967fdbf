package activate

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// guardedUnits are what a trial must not meet, and the drop-in that keeps it
// from happening. A restart past the loader neither takes the trial's token nor
// comes back to the default; soft-reboot.target is there from systemd 254. The
// two services are those of Debian's kexec-tools, with LOAD_KEXEC=true.
var guardedUnits = map[string]string{
	"kexec.target":       "armed-refused.conf",
	"soft-reboot.target": "armed-refused.conf",
	"kexec-load.service": "armed-stops-nothing.conf",
	"kexec.service":      "armed-stops-nothing.conf",
}

func guardFile(unit string) string { return unit + ".d/beadm-armed.conf" }

// mayRestart refuses a trial whose restart is already set to jump past the
// loader.
func (s *Session) mayRestart(name string) error {
	if s.Root != "/" {
		return nil
	}
	if loaded, _ := os.ReadFile("/sys/kernel/kexec_loaded"); strings.TrimSpace(string(loaded)) == "1" {
		return be.E(be.InUse, "cannot arm a trial of %s: a kernel is loaded for kexec, which a restart would start past the boot loader; unload it with kexec -u first", name)
	}
	if isMountPoint("/run/nextroot") {
		return be.E(be.InUse, "cannot arm a trial of %s: a root for soft-reboot is mounted, which a restart would enter past the boot loader; unmount /run/nextroot first", name)
	}
	return nil
}

// guard has systemd refuse what guardedUnits names until unguard, or the end of
// this boot: it is in /run. A guest's restart is its host's.
func (s *Session) guard(ctx context.Context) error {
	if s.Root != "/" || !systemdRuns() {
		return nil
	}
	if err := writeGuard(); err != nil {
		return fmt.Errorf("cannot keep kexec and soft-reboot away from the trial: %w", err)
	}
	if _, err := systemctl(ctx, "daemon-reload"); err != nil {
		return fmt.Errorf("cannot keep kexec and soft-reboot away from the trial: %w", err)
	}
	return nil
}

func writeGuard() error {
	for unit, name := range guardedUnits {
		data, err := units.ReadFile("units/" + name)
		if err != nil {
			return err
		}
		if err := writeUnit(guardFile(unit), data); err != nil {
			return err
		}
	}
	return nil
}

// unguard takes away what guard wrote, if there is something.
func (s *Session) unguard(ctx context.Context) error {
	if s.Root != "/" {
		return nil
	}
	was := false
	for unit := range guardedUnits {
		file := filepath.Join(runtimeUnits, guardFile(unit))
		switch err := os.Remove(file); {
		case err == nil:
			was = true
			unix.Rmdir(filepath.Dir(file)) // if nobody else has a drop-in there
		case !os.IsNotExist(err):
			return fmt.Errorf("cannot allow kexec and soft-reboot again: %w", err)
		}
	}
	if !was || !systemdRuns() {
		return nil
	}
	if _, err := systemctl(ctx, "daemon-reload"); err != nil {
		return fmt.Errorf("kexec and soft-reboot are refused until systemctl daemon-reload: %w", err)
	}
	return nil
}

// systemdRuns is sd_booted(3).
func systemdRuns() bool {
	info, err := os.Lstat(runtimeUnits)
	return err == nil && info.Mode().Type() == fs.ModeDir
}
