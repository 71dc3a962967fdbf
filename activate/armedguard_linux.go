package activate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// inhibitJumps has systemd refuse what guardedUnits names until allowJumps, or
// the end of this boot: it is in /run. A guest's restart is its host's.
func (s *Session) inhibitJumps() error {
	if !s.ofHost() || !initIsSystemd() {
		return nil
	}
	did, err := putGuards(runtimeUnits)
	if err == nil && did {
		err = reloadUnits()
	}
	if err != nil {
		return fmt.Errorf("cannot keep kexec and soft-reboot away from the trial: %w", err)
	}
	return nil
}

// allowJumps takes away what inhibitJumps wrote, if there is something.
func (s *Session) allowJumps() error {
	if !s.ofHost() {
		return nil
	}
	did, err := dropGuards(runtimeUnits)
	if err == nil && did {
		err = reloadUnits()
	}
	if err != nil {
		return fmt.Errorf("cannot allow kexec and soft-reboot again: %w; they stay refused until the next boot", err)
	}
	return nil
}

// putGuards writes those that are missing in dir and says whether there were.
func putGuards(dir string) (did bool, err error) {
	for unit, name := range guardedUnits {
		text, err := units.ReadFile("units/" + name)
		if err != nil {
			return did, err
		}
		file := filepath.Join(dir, guardFile(unit))
		if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, text) {
			continue
		}
		did = true
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return did, err
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return did, err
		}
	}
	return did, nil
}

// dropGuards removes those that are in dir and says whether there were.
func dropGuards(dir string) (did bool, err error) {
	for unit := range guardedUnits {
		file := filepath.Join(dir, guardFile(unit))
		switch err := os.Remove(file); {
		case err == nil:
			did = true
			unix.Rmdir(filepath.Dir(file)) // if nobody else has a drop-in there
		case !os.IsNotExist(err):
			return did, err
		}
	}
	return did, nil
}

// unwatchTrial takes away what armDeadman wrote.
func unwatchTrial() error {
	did, err := dropTrialUnits(runtimeUnits)
	if did {
		err = errors.Join(err, reloadUnits())
	}
	return errors.Join(err, dropTrialSysctl(trialSysctl, applySysctl))
}

// applySysctl has systemd set what sysctl.d(5) says of the settings with these
// names, and of no others: what else was set since the boot stays.
func applySysctl(names []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	var args []string
	for _, name := range names {
		args = append(args, "--prefix=/proc/sys/"+strings.ReplaceAll(name, ".", "/"))
	}
	for _, tool := range []string{"/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl"} {
		if _, err := os.Stat(tool); err != nil {
			continue
		}
		if out, err := exec.CommandContext(ctx, tool, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", tool, err, bytes.TrimSpace(out))
		}
		return nil
	}
	return nil // another init's: they apply at the next boot
}

// reloadUnits has systemd read its units again. Before it is started, which is
// when boot runs, it will read them anyway; and another program may be what
// runs in its place.
func reloadUnits() error {
	if comm, err := os.ReadFile("/proc/1/comm"); os.Getpid() == 1 || err == nil && strings.TrimSpace(string(comm)) != "systemd" {
		return nil
	}
	_, err := systemctl(context.Background(), "daemon-reload")
	return err
}
