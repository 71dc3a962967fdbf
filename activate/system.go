package activate

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"

	"beadm/activate/boot"
	"beadm/activate/boot/bootenv"
	"beadm/activate/boot/fbsd"
	"beadm/activate/boot/illumos"
	"beadm/be/rooted"
	"beadm/be/state"
)

// system is what is done differently where neither the kernel is Linux nor the
// init systemd.
type system struct {
	// gaps says which faults of a trial nothing here ends.
	gaps string
	// putHooks has the system's own init run beadm boot in the root.
	putHooks func(root *rooted.Root) error
	// checkRoot returns the kernel of the root at dir, or as an error of kind
	// be.Unbootable why a trial of it could not start or not come back.
	checkRoot func(ctx context.Context, dir string) (kernel string, err error)
	// prepare, in a trial and before any service, has every fault that the
	// kernel notices end in a reset, or says why it would not.
	prepare func(ctx context.Context, run bootenv.Run, conf Conf) error
	// look and check are the default checks of a trial. What is the same on all
	// systems is not among them.
	look  func(ctx context.Context, run bootenv.Run) state.Baseline
	check func(ctx context.Context, run bootenv.Run, base *state.Baseline) []state.CheckState
}

// systems are named as their loader and as Go names them.
var systems = map[string]system{
	fbsd.Name: {
		gaps:     fbsd.Gaps,
		putHooks: fbsd.PutHooks, checkRoot: fbsd.CheckRoot, look: fbsd.LookAround, check: fbsd.Check,
		prepare: func(ctx context.Context, run bootenv.Run, conf Conf) error {
			return fbsd.PrepareTrial(ctx, run, strconv.Itoa(conf.Panic))
		},
	},
	illumos.Name: {
		gaps:     illumos.Gaps,
		putHooks: illumos.PutHooks, checkRoot: illumos.CheckRoot, look: illumos.LookAround, check: illumos.Check,
		prepare: func(ctx context.Context, run bootenv.Run, _ Conf) error { return illumos.FastRebootOff(ctx, run) },
	},
}

// findKernel is boot.FindKernel for whatever the loader boots.
func (s *Session) findKernel(ctx context.Context, dir string) (kernel, initrd string, err error) {
	if sys, ok := systems[s.State.Loader.Kind]; ok {
		kernel, err = sys.checkRoot(ctx, dir)
		return kernel, "", err
	}
	kernel, initrd, _, err = boot.FindKernel(ctx, dir)
	return kernel, initrd, err
}

// putHooks has the init of the root run beadm boot, where the loader's entries
// do not say that.
func putHooks(kind, dir string) error {
	sys, ok := systems[kind]
	if !ok {
		return nil
	}
	root, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return sys.putHooks(root)
}

// startWatchers has the trial that runs confirmed or ended where there is no
// systemd to do it: by processes of their own, which no service manager knows.
func (s *Session) startWatchers(ctx context.Context, sys system, trial *state.Trial) error {
	if err := sys.prepare(ctx, run, s.Conf); err != nil {
		return err
	}
	if trial.Once {
		return nil
	}
	deadline := int64((sinceBoot() + trial.ConfirmWithin).Seconds())
	if err := spawn(initPath, "trial-deadman", strconv.FormatInt(deadline, 10), trial.Activation); err != nil {
		return fmt.Errorf("cannot arm the dead-man timer: %w", err)
	}
	if trial.NoAutoConfirm {
		return nil
	}
	if err := spawn(initPath, "confirm", "--auto"); err != nil {
		return fmt.Errorf("cannot start the checks of the trial: %w", err)
	}
	return nil
}

// run and spawn are the machine's; tests have others.
var run bootenv.Run = bootenv.Exec

// spawn starts a program that outlives this one, in a session of its own.
var spawn = func(argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
