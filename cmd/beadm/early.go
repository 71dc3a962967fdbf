package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/boot"
	"beadm/activate/boot/partition"
	"beadm/activate/left"
	"beadm/be"
	"beadm/be/state"
	"beadm/share"
)

func earlyBootCommand() *cli.Command {
	return &cli.Command{
		Name: "early-boot", Hidden: true, Usage: "boot, before any service",
		Action: func(c *cli.Context) error { return earlyMain() },
	}
}

// bootTime is the longest that boot may take before the system's own init:
// after it a trial is reset, and any other boot goes on.
const bootTime = 5 * time.Minute

// bootFirst runs boot before any service. However that ends, it returns in a
// boot that is no trial; a trial that boot could not prepare must not start
// services. isTrial is asked when it failed.
func bootFirst(run func() error, isTrial func() bool) {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("boot panicked: %v", r)
			}
		}()
		done <- run()
	}()
	var err error
	select {
	case err = <-done:
	case <-time.After(bootTime):
		err = fmt.Errorf("boot did not end within %s", bootTime)
		if isTrial() {
			err = fmt.Errorf("%w: %w", activate.ErrTrialBoot, err)
		}
	}
	if err == nil {
		return
	}
	kmsg("%v", err)
	if !isTrial() {
		// Also when it was cut short: the administrator can log in, and hears.
		if serr := standIn(context.Background()); serr != nil {
			kmsg("%v", serr)
		}
		activate.NoticeBoot(err)
		return
	}
	// Whatever went wrong.
	kmsg("the trial cannot go on: resetting into the old boot environment")
	activate.ForceReset()
	time.Sleep(time.Minute)
}

// earlyBoot goes as far as it can: what fails is in the error, and outside a
// trial the rest is done all the same.
func earlyBoot(cmdline []byte) error {
	ctx := context.Background()
	store, done, err := openStore(ctx, "", "/")
	if err != nil {
		return errors.Join(err, standIn(ctx))
	}
	defer done()
	conf, err := readConf("", "/")
	if err != nil {
		kmsg("%v", err)
		conf = activate.DefaultConf()
	}
	t := &activate.Target{Store: store, Root: "/", Runtime: filepath.Join(runtimeDir, store.GUID()),
		Report: kernelLog{}, OpenLoader: openLoaderAtBoot(store), Cmdline: cmdline, Conf: conf, AnyHost: true}
	mounts := errors.Join(completeMounts(ctx, store), completeLater(store))
	if _, trial := boot.Cmdline(cmdline); trial && mounts != nil {
		return mounts
	}
	res, err := t.Boot(ctx)
	if err != nil {
		if !errors.Is(err, activate.ErrTrialBoot) {
			err = errors.Join(err, t.MountShare(ctx))
		}
		return errors.Join(mounts, err)
	}
	if f := res.Failed; f != nil {
		kmsg("back in %s: the trial of %s failed: %s: %s", res.BE, f.Name, f.Reason, f.Detail)
	}
	if res.Trial {
		kernelSays(5, "trial of %s", res.BE) // KERN_NOTICE
	}
	if res.Owed != nil {
		kmsg("not carried over yet: %v", res.Owed)
	}
	if res.Trouble != nil {
		kmsg("this boot goes on without: %v", res.Trouble)
	}
	return mounts
}

func completeMounts(ctx context.Context, store be.Store) error {
	all, err := store.List(ctx)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.Running {
			return store.CompleteMounts(ctx, b.Name, "/")
		}
	}
	return nil
}

// completeLater is for what could not be mounted yet, or is mounted already and
// has something else in its place in the system's own configuration.
func completeLater(store be.Store) error {
	if b, ok := store.(be.BootPooler); ok {
		if pool, _ := b.BootPool(); pool != "" {
			return activate.PutBootPoolUnits(pool)
		}
	}
	return nil
}

func completeMountsCommand() *cli.Command {
	return &cli.Command{
		Name: "complete-mounts", Hidden: true, Usage: "mount what of the running boot environment is not mounted yet",
		Action: func(c *cli.Context) error {
			if filepath.Clean(c.String("root")) != "/" {
				return be.E(be.Usage, "complete-mounts is for the host, while it starts")
			}
			t, done, err := target(c)
			if err != nil {
				return err
			}
			defer done()
			if err := completeMounts(c.Context, t.Store); err != nil {
				return err
			}
			if b, ok := t.Store.(be.BootPooler); ok {
				if pool, mounted := b.BootPool(); pool != "" && !mounted {
					return be.E(be.NoStore, "cannot mount /boot: it is in pool %s, which is not imported or does not hold it; see zpool import and beadm check, then systemctl restart beadm-boot-pool", pool)
				}
			}
			return nil
		},
	}
}

// standIn is for a machine whose store cannot even be opened, if its
// directories lead into the shared data.
func standIn(ctx context.Context) error {
	if _, err := os.Lstat("/var/share"); err != nil {
		return nil
	}
	return share.Skeleton(ctx, "/")
}

// kmsg says what is wrong on the console and in the kernel's log, where
// journald finds it.
func kmsg(format string, args ...any) { kernelSays(3, format, args...) } // KERN_ERR

func kernelSays(level int, format string, args ...any) {
	text := "beadm: " + fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, text)
	if f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		fmt.Fprintf(f, "<%d>%s\n", level, strings.ReplaceAll(text, "\n", "; "))
		f.Close()
	}
}

// kernelLog is the reporter of early boot.
type kernelLog struct{}

func (kernelLog) Step(string)                     {}
func (kernelLog) Would(string)                    {}
func (kernelLog) Note(format string, args ...any) { kernelSays(5, format, args...) }
func (kernelLog) Warn(format string, args ...any) { kmsg(format, args...) }
func (kernelLog) Left(out, in string, places []left.Place) {
	kernelSays(4, "left behind, in %s and not in %s: %s", out, in, left.Few(places, 5)) // KERN_WARNING
}

// mirrorTime is how long a boot waits for disks with further copies of the
// loader, for all of them together: one of them may be dead.
const mirrorTime = 10 * time.Second

var mirrorDeadline time.Time

// openLoaderAtBoot waits for the loader's disk, which the kernel may not have
// found yet.
func openLoaderAtBoot(store be.Store) func(context.Context, state.LoaderConfig, string) (boot.Loader, error) {
	open := openLoader(store)
	return func(ctx context.Context, conf state.LoaderConfig, mountAt string) (boot.Loader, error) {
		deadline := time.Now().Add(30 * time.Second)
		if conf.OneOf {
			if mirrorDeadline.IsZero() {
				mirrorDeadline = time.Now().Add(mirrorTime)
			}
			deadline = mirrorDeadline
		}
		start := func(ctx context.Context) error { return partition.Start(ctx, conf.Below) }
		if conf.Below == "" {
			start = nil
		}
		return waitForLoader(ctx, deadline, 500*time.Millisecond, func() (boot.Loader, error) { return open(ctx, conf, mountAt) }, start)
	}
}

// waitForLoader tries to open until the deadline. What the loader's file system
// is on is started before each further try: the disks that it is made of may
// come one after the other.
func waitForLoader(ctx context.Context, deadline time.Time, pause time.Duration, open func() (boot.Loader, error), start func(context.Context) error) (boot.Loader, error) {
	said := ""
	for ; ; time.Sleep(pause) {
		l, err := open()
		if err == nil || time.Now().After(deadline) {
			return l, err
		}
		if start == nil {
			continue
		}
		startCtx, cancel := context.WithDeadline(ctx, deadline)
		err = start(startCtx)
		cancel()
		if err != nil && err.Error() != said {
			said = err.Error()
			kmsg("cannot start what the loader's file system is on: %v", err)
		}
	}
}
