package lxc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/rooted"
)

// script is process 1 of the container that Run makes; with it all that the
// command left ends. LXC does not hand down how it ended: it says so on
// descriptor 3. lxc-execute would, but its own init is a program of the host that the
// guest could write to through /proc/1/exe, and waits for all that is left.
const script = `while [ "$1" != -- ]; do export "$1"; shift; done
shift
"$@" 3>&-
echo $? >&3`

// environment is what every command gets, as systemd-nspawn's do.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root"}

// Run runs the command in a container of its own, which has of the guest's
// configuration what confines it, and neither its network, its hooks nor what
// it has mounted from the host. It keeps guest.Keeps, and has no terminal.
func (r *Runtime) Run(ctx context.Context, g guest.Guest, c guest.Command) error {
	if len(c.Argv) == 0 {
		return be.E(be.Usage, "cannot run nothing in a root of %s", g.Name)
	}
	if err := r.run(ctx, g, c); err != nil {
		return fmt.Errorf("in a root of %s: %w", g.Name, err)
	}
	return nil
}

func (r *Runtime) run(ctx context.Context, g guest.Guest, c guest.Command) error {
	owner, err := r.container(ctx, g)
	if err != nil {
		return err
	}
	work, err := r.work(g)
	if err != nil {
		return err
	}
	// LXC's own path has to be within reach, too. It knows a container by it, and
	// it is no other call's.
	own := filepath.Join(reach, filepath.Base(work))
	defer removeWork(work, own)
	config, log := filepath.Join(work, "config"), filepath.Join(work, "log")
	text, resolver, err := r.confined(ctx, owner, c.Root)
	if err != nil {
		return err
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	args := []string{"-F", "-P", own, "--name=" + g.Name, "-f", config, "-q", "-o", log, "-l", "NOTICE", "--", "/bin/sh", "-c", script, "sh"}
	args = append(append(args, environment...), c.Env...)
	args = append(append(args, "--"), c.Argv...)
	cmd := exec.CommandContext(ctx, "lxc-start", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = guest.Relay(c.Stdout), guest.Relay(c.Stderr)
	input, err := guest.Feed(cmd, c.Stdin)
	if err != nil {
		return err
	}
	status, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer status.Close()
	cmd.ExtraFiles = []*os.File{ours}
	// LXC's own clean-up needs LXC's own process.
	cmd.Cancel = func() error {
		killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTime)
		defer cancel()
		if _, err := r.ask(killing, "lxc-stop", "-P", own, "--name="+g.Name, "-k"); err != nil {
			return cmd.Process.Kill()
		}
		return nil
	}
	cmd.WaitDelay = killTime
	err = guest.StartScoped(cmd, func() error { return within(c.Root, own, resolver) })
	ours.Close()
	if err != nil {
		input()
		if errors.Is(err, exec.ErrNotFound) {
			return be.E(be.NoStore, "LXC is not installed: %w", err)
		}
		return err
	}
	err = cmd.Wait()
	input()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	code, ok := statusOf(status)
	if ok {
		return exitError(code)
	}
	said, _ := os.ReadFile(log)
	if why := cause(said); why != "" {
		return fmt.Errorf("cannot run %s: %s", c.Argv[0], why)
	}
	return fmt.Errorf("cannot run %s: LXC does not say how it ended: %w", c.Argv[0], errors.Join(errors.New(lastLine(said)), err))
}

// confined is the configuration of the container that a command runs in.
// The bytes are those of a resolv.conf that within makes.
func (r *Runtime) confined(ctx context.Context, owner container, root string) (text string, resolver []byte, err error) {
	if !filepath.IsAbs(root) || strings.ContainsAny(owner.config, "\n\r\x00") {
		return "", nil, be.E(be.Usage, "cannot run anything in %q", root)
	}
	lines := []string{
		"lxc.include = " + owner.config,
		"lxc.rootfs.path = dir:" + filepath.Join(reach, "root"),
		"lxc.hook =",
		"lxc.mount.entry =",
		"lxc.mount.fstab = /dev/null",
		"lxc.mount.auto =",
		"lxc.mount.auto = proc:mixed",
		"lxc.mount.entry = tmpfs run tmpfs nosuid,nodev,mode=755,create=dir 0 0",
		"lxc.mount.entry = tmpfs tmp tmpfs nosuid,nodev,mode=1777,create=dir 0 0",
		"lxc.tty.max = 0",
		"lxc.console.path = none",
		"lxc.init.uid = 0",
		"lxc.init.gid = 0",
		"lxc.init.cwd = /",
		"lxc.autodev = 1",
		"lxc.ephemeral = 0",
		"lxc.net =",
		"lxc.net.0.type = none",
	}
	lines = append(lines, procEntries()...)
	caps, err := r.capabilities(ctx, owner)
	if err != nil {
		return "", nil, err
	}
	lines = append(lines, caps...)
	resolver, name, err := resolverOf(root)
	if err != nil {
		return "", nil, err
	}
	if name != "" {
		lines = append(lines, fmt.Sprintf("lxc.mount.entry = %s %s none bind,ro,optional,create=file 0 0", filepath.Join(reach, "resolv.conf"), name))
	}
	return strings.Join(lines, "\n") + "\n", resolver, nil
}

// reach is where a command's root is mounted for LXC alone: one with ids of its own
// goes there by itself, as nobody on this host, and what it is mounted on is
// root's.
const reach = "/run/beadm-lxc"

// within makes, in a mount name space of this thread's own, root and a copy of how
// the host finds names come into reach.
func within(root, own string, resolver []byte) error {
	// It stays, empty: others may be about to mount on it.
	if err := os.Mkdir(reach, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	at := filepath.Join(reach, "root")
	// None without those before it: what is mounted here must not get out.
	for _, do := range []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "") },
		func() error {
			return unix.Mount("tmpfs", reach, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=711,size=1m")
		},
		func() error { return unix.Mkdir(own, 0o711) },
		func() error { return unix.Mkdir(at, 0o700) },
		func() error {
			return unix.Mount(fmt.Sprintf("/proc/thread-self/fd/%d", dir), at, "", unix.MS_BIND|unix.MS_REC, "")
		},
		func() error { return os.WriteFile(filepath.Join(reach, "resolv.conf"), resolver, 0o644) },
		func() error { return os.Chmod(filepath.Join(reach, "resolv.conf"), 0o644) },
	} {
		if err := do(); err != nil {
			return fmt.Errorf("cannot mount %s for LXC: %w", root, err)
		}
	}
	return nil
}

// capabilities are the lines that leave, of what the guest has, guest.Keeps. LXC
// takes either a list to keep or one to drop.
func (r *Runtime) capabilities(ctx context.Context, owner container) ([]string, error) {
	keeps, err := keepsCapabilities(owner.config, 0)
	if err != nil {
		return nil, err
	}
	if !keeps {
		// By number: LXC does not know the names of all that the kernel has.
		data, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
		if err != nil {
			return nil, err
		}
		last, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			return nil, err
		}
		line := "lxc.cap.drop ="
		for n := range last + 1 {
			if !slices.ContainsFunc(guest.Keeps, func(c guest.Capability) bool { return c.Number == n }) {
				line += " " + strconv.Itoa(n)
			}
		}
		return []string{line}, nil
	}
	said, err := r.ask(ctx, "lxc-info", "-P", owner.path, "--name="+filepath.Base(filepath.Dir(owner.config)), "-c", "lxc.cap.keep")
	if err != nil {
		return nil, err
	}
	_, list, _ := strings.Cut(said, "=")
	lines := []string{"lxc.cap.keep ="}
	for _, word := range strings.Fields(list) {
		name := strings.TrimPrefix(word, "cap_")
		if slices.ContainsFunc(guest.Keeps, func(c guest.Capability) bool { return c.Name == name || strconv.Itoa(c.Number) == name }) {
			lines = append(lines, "lxc.cap.keep = "+word)
		}
	}
	if len(lines) == 1 {
		lines = append(lines, "lxc.cap.keep = none")
	}
	return lines, nil
}

// ofHost are files of /proc that are the whole host's. What a privileged guest's
// root may write there, or read, a command may not.
var (
	readOnly = []string{"acpi", "apm", "asound", "bus", "fs", "irq", "scsi", "sys/net"}
	hidden   = []string{"kallsyms", "kcore", "keys", "kmsg", "latency_stats", "mtrr", "sysrq-trigger", "timer_list"}
)

func procEntries() (lines []string) {
	for _, name := range readOnly {
		if _, err := os.Stat("/proc/" + name); err == nil {
			lines = append(lines, fmt.Sprintf("lxc.mount.entry = /proc/%s proc/%s none bind,ro 0 0", name, name))
		}
	}
	for _, name := range hidden {
		if _, err := os.Stat("/proc/" + name); err == nil {
			lines = append(lines, fmt.Sprintf("lxc.mount.entry = /dev/null proc/%s none bind,ro 0 0", name))
		}
	}
	return lines
}

// keepsCapabilities says whether a configuration, or one that it includes, has
// a list of capabilities to keep: lxc-info gives either list under either name.
func keepsCapabilities(path string, depth int) (bool, error) {
	if depth > 10 {
		return false, fmt.Errorf("cannot read %s: it is included too deep", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if info.IsDir() {
		// lxc.container.conf(5): all in it whose names end in .conf.
		below, err := filepath.Glob(filepath.Join(path, "*.conf"))
		if err != nil {
			return false, err
		}
		for _, file := range below {
			if keeps, err := keepsCapabilities(file, depth+1); keeps || err != nil {
				return keeps, err
			}
		}
		return false, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key, value = strings.TrimSpace(key), strings.TrimSpace(value); {
		case key == "lxc.cap.keep" && value != "":
			return true, nil
		case key == "lxc.include" && value != "":
			if keeps, err := keepsCapabilities(value, depth+1); keeps || err != nil && !errors.Is(err, fs.ErrNotExist) {
				return keeps, err
			}
		}
	}
	return false, nil
}

// resolverOf is how the host finds names, and where in the root it is to be seen;
// empty: nowhere. It is a copy because the guest's root may be able to write to
// what is mounted.
func resolverOf(root string) (data []byte, name string, err error) {
	data, err = os.ReadFile("/etc/resolv.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	in, err := rooted.Open(root)
	if err != nil {
		return nil, "", err
	}
	defer in.Close()
	name, err = in.Resolve("/etc/resolv.conf")
	if err != nil || name == "/" || strings.ContainsAny(name, " \t\n\r\\") {
		return nil, "", nil
	}
	return data, strings.TrimPrefix(name, "/"), nil
}

// statusOf is the exit status that script wrote. Someone of the guest may still
// hold the other end: it never waits.
func statusOf(f *os.File) (int, bool) {
	fd := int(f.Fd())
	if unix.SetNonblock(fd, true) != nil {
		return 0, false
	}
	buf := make([]byte, 16)
	n, err := unix.Read(fd, buf)
	if err != nil || n <= 0 {
		return 0, false
	}
	code, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	return code, err == nil && code >= 0 && code <= 255
}

// exitError is the error of a command that ended with code. Only a process has
// one.
func exitError(code int) error {
	if code == 0 {
		return nil
	}
	return exec.Command("/bin/sh", "-c", "exit "+strconv.Itoa(code)).Run()
}

// removeWork takes away what a call left, also where LXC keeps a lock for each
// directory of containers that it ever saw.
func removeWork(work, own string) {
	_ = os.RemoveAll(filepath.Join(lockDir, own))
	for range 5 {
		if os.RemoveAll(work) == nil {
			return
		}
		// LXC's last clean-up may still write there.
		time.Sleep(20 * time.Millisecond)
	}
}

const lockDir = "/run/lxc/lock"
