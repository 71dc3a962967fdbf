package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/guest/nspawn"
	"beadm/be/state"
)

// startGuests are the units that start guests: each waits for guestUnit. A
// template in Before= of that would name no unit.
var startGuests = []string{"systemd-nspawn@.service", "lxc.service", "lxc@.service"}

const afterGuestUnit = "[Unit]\nWants=beadm-guests.service\nAfter=beadm-guests.service\n"

// guestUnit has the host make its guests ready before anything starts them.
//
//go:embed units/beadm-guests.service
var guestUnit string

const (
	unitDir          = "/etc/systemd/system"
	guestUnitName    = "beadm-guests.service"
	enablesGuestUnit = unitDir + "/multi-user.target.wants/" + guestUnitName
)

// guestDropIns are those of startGuests.
func guestDropIns() (files []string) {
	for _, unit := range startGuests {
		files = append(files, filepath.Join(unitDir, unit+".d", "beadm.conf"))
	}
	return files
}

// guestsReady says that this boot's guests were made ready, or were running when
// the unit was installed. What starts a guest asks for the unit again: from then
// on that must not take the trials of others in the same batch back.
const guestsReady = runtimeDir + "/guests-ready"

func markGuestsReady() error {
	if err := os.MkdirAll(runtimeDir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(guestsReady, nil, 0o600)
}

// guestUnitText is the unit for guests in these directories.
func guestUnitText(program string, dirs ...string) string {
	for i, dir := range dirs {
		dirs[i] = strconv.Quote(strings.ReplaceAll(dir, "%", "%%"))
	}
	return strings.NewReplacer("@BEADM@", program, "@DONE@", guestsReady, "@DIRS@", strings.Join(dirs, " ")).Replace(guestUnit)
}

// putGuestUnit installs it on a host that systemd runs.
func putGuestUnit(conf activate.Conf) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil
	}
	program := "/usr/sbin/beadm"
	if _, err := os.Stat(program); err != nil {
		if program, err = os.Executable(); err != nil {
			return err
		}
	}
	if err := markGuestsReady(); err != nil {
		return err
	}
	file := filepath.Join(unitDir, guestUnitName)
	files := map[string]string{file: guestUnitText(program, cmp.Or(conf.GuestDir, nspawn.DefaultDir), cmp.Or(conf.LXCPath, "/var/lib/lxc"))}
	for _, drop := range guestDropIns() {
		files[drop] = afterGuestUnit
	}
	did := false
	for file, text := range files {
		if have, err := os.ReadFile(file); err == nil && string(have) == text || masked(file) {
			continue
		}
		did = true
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if err == nil {
			err = state.WriteFile(file, []byte(text))
		}
		if err == nil {
			err = os.Chmod(file, 0o644)
		}
		if err != nil {
			return fmt.Errorf("cannot have the host make its guests ready at boot: %w", err)
		}
	}
	// Also when all files were there: whoever wrote them may have been cut here.
	if err := os.MkdirAll(filepath.Dir(enablesGuestUnit), 0o755); err != nil {
		return err
	}
	err := os.Symlink(file, enablesGuestUnit)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot have the host make its guests ready at boot: %w", err)
	}
	if !did && err != nil {
		return nil
	}
	return reloadUnits()
}

// masked says that the administrator has had systemd pass a unit over.
func masked(file string) bool {
	to, err := os.Readlink(file)
	return err == nil && to == os.DevNull
}

func reloadUnits() error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil
	}
	if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot have systemd read its units again: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// dropGuestUnit takes away what putGuestUnit has installed. Cut, it leaves units
// that wait for one which is not there, or does nothing; it may be repeated.
func dropGuestUnit() error {
	did := false
	files := append([]string{enablesGuestUnit}, guestDropIns()...)
	for _, file := range append(files, filepath.Join(unitDir, guestUnitName)) {
		if masked(file) {
			continue
		}
		err := os.Remove(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot have the host no longer make guests ready at boot: %w", err)
		}
		did = did || err == nil
	}
	for _, drop := range guestDropIns() {
		os.Remove(filepath.Dir(drop)) // if nobody else has one there
	}
	if !did {
		return nil
	}
	return reloadUnits()
}

// tidyGuestUnit is for when guests were released: without any, the host's boot has
// nothing to make ready.
func tidyGuestUnit(c *cli.Context) error {
	conf, err := hostConf(c)
	if err != nil {
		return err
	}
	// What cannot be read may be of some that are there.
	kept, err := managedNames(c, conf)
	if err != nil {
		return nil
	}
	if err := nspawn.Tidy(c.Context, func(machine string) bool { return kept[machine] }); err != nil {
		return err
	}
	if len(kept) > 0 {
		return nil
	}
	if err := dropGuestUnit(); err != nil {
		return err
	}
	// Another command may have had its init between.
	if kept, err := managedNames(c, conf); len(kept) > 0 || err != nil {
		return putGuestUnit(conf)
	}
	return nil
}

// managedNames are the guests that have boot environments, or were cut while they
// got or lost them.
func managedNames(c *cli.Context, conf activate.Conf) (map[string]bool, error) {
	list, err := managedMachines(c, context.WithoutCancel(c.Context))
	names := map[string]bool{}
	for _, m := range list {
		names[m.Guest.Name] = true
	}
	for _, g := range cutGuests(context.WithoutCancel(c.Context), conf) {
		names[g.Name] = true
	}
	return names, err
}
