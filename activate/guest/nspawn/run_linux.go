package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate/guest"
	"beadm/activate/guest/probe"
	"beadm/be"
)

const (
	stopTime  = 90 * time.Second // what systemd gives a service
	startTime = 90 * time.Second
	pollTime  = 10 * time.Millisecond
)

func (r *Runtime) process(g guest.Guest) (process, bool, error) {
	if err := r.check(g); err != nil {
		return process{}, false, err
	}
	all, err := processes()
	p, ok := all[g.Name]
	return p, ok, err
}

// Start starts the machine.
func (r *Runtime) Start(ctx context.Context, g guest.Guest) error {
	_, running, err := r.process(g)
	if err != nil {
		return err
	}
	if running {
		return be.E(be.InUse, "%s runs already", g.Name)
	}
	if err := startable(g); err != nil {
		return err
	}
	if r.cfg.Systemd {
		if err := settleRoot(ctx, g); err != nil {
			return err
		}
		// By its service, which says how it is started: systemd-nspawn@.service,
		// and what the administrator added. Its instance is not escaped.
		return systemctl(ctx, "start", "systemd-nspawn@"+g.Name+".service")
	}
	return r.start(ctx, g)
}

func (r *Runtime) start(ctx context.Context, g guest.Guest) error {
	if err := os.MkdirAll(r.cfg.LogDir, 0o700); err != nil {
		return fmt.Errorf("cannot start %s: %w", g.Name, err)
	}
	words, err := os.OpenFile(filepath.Join(r.cfg.LogDir, g.Name+".nspawn"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", g.Name, err)
	}
	defer words.Close()
	// Only what the program says is kept: a machine's own console could fill
	// the host's memory.
	dirs, err := makeGroups(g.Name)
	if err != nil {
		return fmt.Errorf("cannot start %s: cannot make its control group: %w", g.Name, err)
	}
	argv := intoGroups(dirs, "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=override",
		"--console=read-only", "--link-journal=no", "--machine="+g.Name, "--directory="+g.Root)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return be.E(be.NoStore, "cannot start %s: %w", g.Name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ours, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return err
	}
	timeout := time.After(startTime)
	for {
		if leaderOf(cmd.Process.Pid, ours) != 0 && becameInit(leaderOf(cmd.Process.Pid, ours)) {
			return nil
		}
		select {
		case err := <-ended:
			said, _ := os.ReadFile(words.Name())
			return fmt.Errorf("cannot start %s: systemd-nspawn ended (%v): %s", g.Name, err, lastLine(said))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), r.Stop(context.WithoutCancel(ctx), g))
		case <-timeout:
			return errors.Join(fmt.Errorf("cannot start %s: it has no process 1 after %s", g.Name, startTime), r.Stop(context.WithoutCancel(ctx), g))
		case <-time.After(pollTime):
		}
	}
}

// becameInit says that the process is no longer systemd-nspawn's own, which
// sets up what the machine finds.
func becameInit(pid int) bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && !strings.HasPrefix(string(comm), "(sd-") && strings.TrimSpace(string(comm)) != "systemd-nspawn"
}

func lastLine(said []byte) string {
	lines := bytes.Split(bytes.TrimSpace(said), []byte("\n"))
	return strings.ToValidUTF8(string(lines[len(lines)-1]), "?")
}

// Stop has it shut down: systemd-nspawn that gets SIGTERM tells the machine.
func (r *Runtime) Stop(ctx context.Context, g guest.Guest) error {
	p, running, err := r.process(g)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	if !running {
		if r.cfg.Systemd && hasUnit(g.Name) {
			// A machine that reboots has no process for a moment: its service is
			// about to start it again.
			return systemctl(ctx, "stop", "systemd-nspawn@"+g.Name+".service")
		}
		return nil
	}
	handle, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot stop %s: %w", g.Name, err)
	}
	defer unix.Close(handle)
	if strings.HasPrefix(p.unit, "systemd-nspawn@") && r.cfg.Systemd {
		// Else systemd would take it for a machine that ended by itself.
		err = systemctl(ctx, "stop", p.unit)
	} else {
		err = unix.PidfdSendSignal(handle, unix.SIGTERM, nil, 0)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot stop %s: %w", g.Name, err)
	}
	defer dropGroups(g.Name)
	if gone(ctx, handle) {
		return nil
	}
	// It did not shut down in time. Its process 1 takes all others along.
	if p.leader != 0 {
		unix.Kill(p.leader, unix.SIGKILL)
	}
	wait, cancelWait := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancelWait()
	if gone(wait, handle) {
		return nil
	}
	unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0)
	wait, cancelKill := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancelKill()
	if gone(wait, handle) {
		return nil
	}
	return fmt.Errorf("cannot stop %s: systemd-nspawn (pid %d) does not end", g.Name, p.pid)
}

// hasUnit says whether systemd has a service of the machine in memory that is
// not at rest (org.freedesktop.systemd1(5)); in doubt it has.
func hasUnit(name string) bool {
	out, err := exec.Command("systemctl", "is-active", "--", "systemd-nspawn@"+name+".service").Output()
	state := strings.TrimSpace(string(out))
	return err == nil || state != "inactive" && state != "failed" && state != "unknown"
}

// gone waits until the process of the handle has ended.
func gone(ctx context.Context, handle int) bool {
	for {
		ready := []unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, 50); n > 0 && err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
	}
}

// Health asks its systemd.
func (r *Runtime) Health(ctx context.Context, g guest.Guest) (guest.Health, error) {
	p, running, err := r.process(g)
	if err != nil {
		return guest.Health{}, err
	}
	if !running || p.leader == 0 {
		return guest.Health{}, be.E(be.NotFound, "%s does not run", g.Name)
	}
	return probe.Systemd(ctx, p.leader)
}

// Run runs the command in a machine of its own on that root, with no more than
// guest.Keeps of what systemd-nspawn leaves one. Process 1 is the guest's shell:
// that of --as-pid2 is systemd-nspawn, and whoever opens /proc/1/exe has the
// host's.
func (r *Runtime) Run(ctx context.Context, g guest.Guest, c guest.Command) error {
	p, _, err := r.process(g)
	if err != nil {
		return err
	}
	if len(c.Argv) == 0 {
		return be.E(be.Usage, "cannot run nothing in a root of %s", g.Name)
	}
	if err := runnable(c.Root); err != nil {
		return err
	}
	args := []string{"--quiet", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no", "--drop-capability=" + strings.Join(drops, ","),
		hides, "--timezone=off", "--resolv-conf=bind-host", "--machine=" + strings.TrimRight(g.Name[:min(len(g.Name), 48)], ".-") + "-beadm", "--directory=" + c.Root}
	if shift, owns := uidShift(p.leader, c.Root); shift != 0 {
		ownership := "off"
		if !owns {
			ownership = "map"
		}
		args = append(args, fmt.Sprintf("--private-users=%d:65536", shift), "--private-users-ownership="+ownership)
	}
	for _, e := range c.Env {
		args = append(args, "--setenv="+e)
	}
	pipe := !isTerminal(c.Stdin) || !isTerminal(c.Stdout)
	if pipe {
		args = append(args, "--console=pipe")
	}
	cmd := exec.CommandContext(ctx, "systemd-nspawn", append(append(args, "--", "/bin/sh", "-c", `"$@"; exit $?`, "sh"), c.Argv...)...)
	if pipe {
		cmd.Stdout, cmd.Stderr = guest.Relay(c.Stdout), guest.Relay(c.Stderr)
		done, err := guest.Feed(cmd, c.Stdin)
		if err != nil {
			return err
		}
		defer done()
	} else {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	}
	// It ends what it runs; killed, it could not.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	if err = guest.StartScoped(cmd, nil); err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("in a root of %s: %w", g.Name, err)
	}
	return nil
}

// hides has systemd-nspawn find what it hides files of /proc behind that are the
// host's, such as sysrq-trigger: version 252 looks for that in /run/systemd, has it
// in /run/host, and goes on without.
const hides = "--bind-ro=+/run/host/inaccessible:/run/systemd/inaccessible"

// drops are what systemd-nspawn(1) leaves a machine and guest.Keeps does not.
var drops = []string{"CAP_AUDIT_CONTROL", "CAP_DAC_READ_SEARCH", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BROADCAST",
	"CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_SYS_TTY_CONFIG"}

func isTerminal(f *os.File) bool {
	if f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func systemctl(ctx context.Context, verb, unit string) error {
	cmd := exec.CommandContext(ctx, "systemctl", verb, "--", unit)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot %s %s: %w: %s", verb, unit, err, lastLine(out))
	}
	return nil
}
