// Package illumos makes boot environments bootable with illumos' loader on
// x86, where it has libzfsbootenv.
//
// The token is the key illumos:bootonce of the pool's label, which eeprom(8)
// -b shows and writes. The system's own beadm(8) activate -t writes the same
// key, but installs the boot loader again on its way (libbe, _be_activate):
// in a trial, or before one, nothing may touch what has to bring the machine
// back, so it is never called.
//
// beadm boot is run by an SMF service once the root file system can be written
// and before the milestone single-user.
//
// None of this has ever run on illumos. What it knows of the system is from
// its sources and manuals, named where it is used.
package illumos

import (
	"context"
	"errors"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/bootenv"
	"beadm/be"
)

// Name is what the state calls this loader.
const Name = "illumos"

// Gaps are the faults of a trial that nothing ends.
const Gaps = "a root that cannot be mounted and a loader or a kernel that hangs, without a hardware watchdog; a panic into kmdb(1)"

// Config says where the boot environments are.
type Config struct {
	BERoot string // POOL/ROOT
	Run    bootenv.Run
	Step   func(effect string) error
}

// New touches nothing.
func New(cfg Config) *bootenv.Loader {
	if cfg.Run == nil {
		cfg.Run = bootenv.Exec
	}
	s := system{cfg.Run}
	return bootenv.New(bootenv.Config{
		Name: Name, BERoot: cfg.BERoot, Label: []string{"eeprom", "-b"}, Key: "illumos:bootonce",
		Colons: true, Menu: s.menu, Told: s.told, Ready: s.ready, Run: cfg.Run, Step: cfg.Step,
	})
}

type system struct{ run bootenv.Run }

// told asks for the variable zfs-bootonce of the loader, which is a property
// of the device tree's root in the kernel (i86pc/os/fakebop.c,
// process_boot_environment). Not found is no proof that there was no token.
func (s system) told(ctx context.Context) (bootenv.Told, error) {
	out, err := s.run(ctx, "devprop", "-s", "zfs-bootonce")
	if err != nil {
		return bootenv.Told{}, nil
	}
	ds := bootenv.Dataset(out)
	return bootenv.Told{Dataset: ds, Known: ds != ""}, nil
}

// TookToken says that the loader told this kernel of a token, of whatever boot
// environment.
func TookToken(ctx context.Context, run bootenv.Run) bool {
	t, err := system{run}.told(ctx)
	return err == nil && t.Dataset != ""
}

// FMRI is the service that runs beadm boot.
const FMRI = "svc:/system/beadm:default"

const bootConfig = "svc:/system/boot-config:default"

// ready refuses a trial from which a reboot or a panic would jump past the
// loader, or whose beadm boot would not be run.
func (s system) ready(ctx context.Context) error {
	if err := FastRebootOff(ctx, s.run); err != nil {
		return err
	}
	out, err := s.run(ctx, "svcs", "-H", "-o", "state", FMRI)
	var tool *bootenv.ToolError
	switch state := strings.TrimSpace(out); {
	case errors.As(err, &tool) && strings.Contains(tool.Words, "doesn't match any instances"):
		return be.E(be.Unbootable, "there is no service %s yet, which runs beadm boot: %w", FMRI, boot.ErrRestart)
	case err != nil:
		return be.E(be.Unbootable, "cannot see whether %s runs beadm boot: %w", FMRI, err)
	case state != "online":
		return be.E(be.Unbootable, "the service %s, which runs beadm boot, is not online but %s: see svcs -xv %s", FMRI, state, FMRI)
	}
	return nil
}

// FastRebootOff says of the running system, as an error, that its kernel
// would start the next one itself, past the loader that holds the token: after
// a panic, or at a reboot (reboot(8), fastreboot_onpanic, fastreboot_default).
func FastRebootOff(ctx context.Context, run bootenv.Run) error {
	for _, name := range []string{"fastreboot_default", "fastreboot_onpanic"} {
		out, err := run(ctx, "svcprop", "-p", "config/"+name, bootConfig)
		var tool *bootenv.ToolError
		if errors.As(err, &tool) && strings.Contains(tool.Words, "Couldn't find property") {
			continue
		}
		if err != nil {
			return be.E(be.Unbootable, "cannot read config/%s of %s: %w", name, bootConfig, err)
		}
		if value := strings.TrimSpace(out); value != "false" {
			return be.E(be.Unbootable, "config/%s of %s is %s: a kernel that starts the next one itself jumps past the loader, and a failed trial would start again; before the clone is made, run svccfg -s %s setprop config/%s=false and svcadm refresh %s",
				name, bootConfig, value, bootConfig, name, bootConfig)
		}
	}
	return nil
}
