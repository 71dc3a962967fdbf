// Package fbsd makes boot environments bootable with FreeBSD's loader, 13.0
// or later: gptzfsboot(8), loader.efi(8), boot1.efi.
//
// The token is the key freebsd:bootonce of the pool's label, which
// zfsbootcfg(8) shows and writes. The loader takes it and leaves its value in
// the kernel's environment as zfs-bootonce (kenv(1)).
//
// beadm boot is run by init(8) before /etc/rc: the loader's variable
// init_script, which a file of ours in /boot/loader.conf.d sets in each boot
// environment.
//
// None of this has ever run on FreeBSD. What it knows of the system is from
// its sources and manuals, named where it is used.
package fbsd

import (
	"context"
	"errors"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/bootenv"
	"beadm/be"
)

// Name is what the state calls this loader.
const Name = "freebsd"

// Gaps are the faults of a trial that nothing ends.
const Gaps = "a root that cannot be mounted (mountroot> waits for a person), and a loader or a kernel that hangs: run watchdogd(8); what comes before it only a watchdog covers that the firmware starts"

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
		Name: Name, BERoot: cfg.BERoot, Label: []string{"zfsbootcfg"}, Key: "freebsd:bootonce",
		Told: s.told, Ready: s.ready, Run: cfg.Run, Step: cfg.Step,
	})
}

type system struct{ run bootenv.Run }

// kenv is a variable of the kernel's environment; empty if there is none
// (kenv(1): -q, and the exit status is 1).
func (s system) kenv(ctx context.Context, name string) (string, error) {
	out, err := s.run(ctx, "kenv", "-q", name)
	var tool *bootenv.ToolError
	if errors.As(err, &tool) && tool.Status == 1 && strings.TrimSpace(tool.Words) == "" {
		return "", nil
	}
	return strings.TrimSpace(out), err
}

// told reads zfs-bootonce. With BIOS the token is taken by gptzfsboot, which
// leaves it as bootonce-used for the loader; one that died between the two has
// the next boot's kernel told of it. With UEFI one program does both.
func (s system) told(ctx context.Context) (bootenv.Told, error) {
	value, err := s.kenv(ctx, "zfs-bootonce")
	if err != nil {
		return bootenv.Told{}, be.E(be.Other, "cannot read what the loader told the kernel: %w", err)
	}
	t := bootenv.Told{Dataset: bootenv.Dataset(value), Known: true}
	if t.Dataset != "" {
		method, err := s.run(ctx, "sysctl", "-n", "machdep.bootmethod")
		t.Now = err == nil && strings.TrimSpace(method) == "UEFI"
	}
	return t, nil
}

// TookToken says that the loader told this kernel of a token, of whatever boot
// environment.
func TookToken(ctx context.Context, run bootenv.Run) bool {
	t, err := system{run}.told(ctx)
	return err == nil && t.Dataset != ""
}

// ready refuses a trial that would confirm itself, or whose beadm boot would
// not be run.
func (s system) ready(ctx context.Context) error {
	value, err := s.run(ctx, "sysrc", "-n", activateVar)
	var tool *bootenv.ToolError
	switch {
	case errors.As(err, &tool) && strings.Contains(tool.Words, "unknown variable"):
		// A FreeBSD that does not know it does not do it.
	case err != nil:
		return be.E(be.Unbootable, "cannot read %s of rc.conf: %w", activateVar, err)
	case isYes(strings.TrimSpace(value)):
		return be.E(be.Unbootable, "rc.conf says %s=%s, so that FreeBSD would confirm a trial by itself before anything was checked: run sysrc %s=NO", activateVar, strings.TrimSpace(value), activateVar)
	}
	script, err := s.kenv(ctx, "init_script")
	if err != nil {
		return be.E(be.Unbootable, "cannot read init_script of the kernel's environment: %w", err)
	}
	switch script {
	case InitScript:
	case "":
		return be.E(be.Unbootable, "this boot did not run %s: %w; if it was, the loader does not read %s", InitScript, boot.ErrRestart, loaderConf)
	default:
		return be.E(be.Unbootable, "this boot ran %s by init_script, and not %s: restart the host after beadm setup, and see which file of the loader sets it behind %s", script, InitScript, loaderConf)
	}
	return nil
}

// PrepareTrial has a panic of this boot end in a reset: sysctls that are gone
// with it. One that the kernel does not have is none to fear.
func PrepareTrial(ctx context.Context, run bootenv.Run, panicSeconds string) error {
	for _, setting := range []string{"debug.debugger_on_panic=0", "kern.panic_reboot_wait_time=" + panicSeconds} {
		_, err := run(ctx, "sysctl", setting)
		var tool *bootenv.ToolError
		if errors.As(err, &tool) && strings.Contains(tool.Words, "unknown oid") {
			continue
		}
		if err != nil {
			return be.E(be.Other, "cannot have a panic reset this trial: %w", err)
		}
	}
	return nil
}
