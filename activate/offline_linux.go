package activate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

// OfflineStage is the hidden first argument with which the program starts
// itself inside the new namespaces; its second is the JSON of offlineJob.
const OfflineStage = "offline-stage"

type offlineJob struct {
	Root    string   `json:"root"`
	Command []string `json:"command"`
	// Terminal: the command gets one of its own, which is relayed.
	Terminal bool `json:"terminal,omitempty"`
}

// recorded are the programs that would reach a loader, firmware, or a service
// manager. In their place stand recorders, found first in PATH, that write
// the call down and succeed. They are no security border: that there is no
// block device, no ESP and no efivarfs is.
var recorded = []string{
	"grub-install", "update-grub", "update-grub2", "grub-mkconfig", "grub2-install", "grub2-mkconfig", "bootctl", "kernel-install",
	"efibootmgr", "zipl", "lilo", "extlinux", "zpool", "generate-zbm",
	"invoke-rc.d", "deb-systemd-invoke", "service", "start-stop-daemon", "initctl", "rc-service",
}

// canRunOffline says why runOffline cannot run anything on this system, before
// anything is made for it.
func canRunOffline() error { return nil }

// runOffline runs a command in the root at dir: own mount, process, IPC and
// host name spaces, the host's network, a /dev without block devices, and
// without the right to make any. What it leaves running is killed with its
// process name space. A command that ran and failed is an ExitStatus.
func runOffline(ctx context.Context, dir string, c OfflineCommand) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	job, err := json.Marshal(offlineJob{Root: dir, Command: c.Argv, Terminal: c.Terminal})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, OfflineStage, string(job))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.Env = append([]string{
		"PATH=/run/beadm-recorders:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "RUNLEVEL=1",
		// systemctl is the real one: packages enable their units with it. With
		// this it starts and stops nothing (systemd's ENVIRONMENT.md).
		"SYSTEMD_OFFLINE=1",
		"APT_CONFIG=/run/beadm-apt.conf", "TERM=" + os.Getenv("TERM"),
	}, c.Env...)
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if c.Terminal {
		// Here and not in the name spaces: whatever happens to those, the
		// user's terminal is given back.
		restore, err := rawTerminal(c.Stdin)
		if err != nil {
			return err
		}
		defer restore()
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ctx.Err() != nil {
			return fmt.Errorf("the command was interrupted: %w", ctx.Err())
		}
		return ExitStatus(exit.ExitCode())
	}
	return err
}

// OfflineMain is the process inside the name spaces, their PID 1. It returns
// the status to end with.
func OfflineMain(arg string) (int, error) {
	var job offlineJob
	if err := json.Unmarshal([]byte(arg), &job); err != nil {
		return 1, err
	}
	if err := enterOffline(job.Root); err != nil {
		return 1, fmt.Errorf("cannot enter the boot environment: %w", err)
	}
	cmd := exec.Command(job.Command[0], job.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Dir = "/"
	if job.Terminal {
		drain, err := ownTerminal(cmd)
		if err != nil {
			return 1, fmt.Errorf("cannot make a terminal: %w", err)
		}
		defer drain()
	}
	if err := cmd.Start(); err != nil {
		return 127, err
	}
	if job.Terminal {
		cmd.Stdin.(*os.File).Close() // the command's own are what is left
	}
	// PID 1 of a name space inherits every orphan in it.
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 1, err
		}
		if pid == cmd.Process.Pid {
			if ws.Signaled() {
				return 128 + int(ws.Signal()), nil
			}
			return ws.ExitStatus(), nil
		}
	}
}

// enterOffline builds the view and enters it. Every mount target is resolved
// as in a chroot: a link in the boot environment must not make us mount over
// the host's directories, which the private name space would hide but a
// written file would not.
func enterOffline(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	root, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	place := func(path string) (string, error) {
		if err := root.MkdirAll(path, 0o755); err != nil {
			return "", err
		}
		return root.HostPath(path)
	}
	mount := func(source, path, fs string, flags uintptr, data string) error {
		to, err := place(path)
		if err != nil {
			return err
		}
		if err := unix.Mount(source, to, fs, flags, data); err != nil {
			return fmt.Errorf("cannot mount %s: %w", path, err)
		}
		return nil
	}
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	// A tmpfs, not sysfs: no efivarfs below it and no block devices to find.
	if err := mount("tmpfs", "/sys", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k"); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	if err := mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID, "mode=755,size=4m"); err != nil {
		return err
	}
	dev, err := root.HostPath("/dev")
	if err != nil {
		return err
	}
	for name, rdev := range map[string]uint64{
		"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7),
		"random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9), "tty": unix.Mkdev(5, 0),
	} {
		if err := unix.Mknod(filepath.Join(dev, name), unix.S_IFCHR|0o666, int(rdev)); err != nil {
			return err
		}
		os.Chmod(filepath.Join(dev, name), 0o666)
	}
	for _, d := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(dev, d), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", filepath.Join(dev, "pts"), "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", filepath.Join(dev, "shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return err
	}
	for link, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, filepath.Join(dev, link)); err != nil {
			return err
		}
	}
	run, err := root.HostPath("/run")
	if err != nil {
		return err
	}
	if err := writeRecorders(run); err != nil {
		return err
	}
	copyResolvConf(root, run)
	if err := unix.Chroot(dir); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	for _, c := range []uintptr{unix.CAP_MKNOD, unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_SYS_BOOT, unix.CAP_SYS_TIME} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return err
		}
	}
	return nil
}

func writeRecorders(run string) error {
	dir := filepath.Join(run, "beadm-recorders")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	script := "#!/bin/sh\nprintf '%s' \"${0##*/}\" >>/run/beadm-recorded\nfor a; do printf ' %s' \"$a\" >>/run/beadm-recorded; done\necho >>/run/beadm-recorded\nexit 0\n"
	for _, name := range recorded {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			return err
		}
	}
	// apt sets its own PATH for dpkg (apt.conf(5), DPkg::Path).
	conf := "DPkg::Path \"/run/beadm-recorders:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\";\n"
	return os.WriteFile(filepath.Join(run, "beadm-apt.conf"), []byte(conf), 0o644)
}

// copyResolvConf gives the command the host's resolvers where the boot
// environment's resolv.conf is a link into /run, which is empty here.
func copyResolvConf(root *rooted.Root, run string) {
	target, err := root.Readlink("/etc/resolv.conf")
	if err != nil {
		return
	}
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return
	}
	_ = target
	to, err := root.Resolve("/etc/resolv.conf")
	if err != nil || !filepath.HasPrefix(to, "/run/") {
		return
	}
	host := filepath.Join(filepath.Dir(run), filepath.Clean("/"+to))
	if os.MkdirAll(filepath.Dir(host), 0o755) == nil {
		os.WriteFile(host, data, 0o644)
	}
}
