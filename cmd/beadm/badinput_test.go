//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func TestWrongNames(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	const none = "there is no boot environment nosuch"
	for _, args := range [][]string{
		{"activate", "nosuch"}, {"activate", "-t", "nosuch"}, {"activate", "--permanent", "nosuch"}, {"activate", "-n", "nosuch"},
		{"destroy", "nosuch"}, {"destroy", "-F", "nosuch"}, {"destroy", "-F", "-f", "nosuch"},
		{"mount", "nosuch"}, {"mount", "-s", "ro", "nosuch"}, {"unmount", "nosuch"}, {"unmount", "-f", "nosuch"},
		{"create", "-e", "nosuch", "x"}, {"create", "-n", "-e", "nosuch", "x"}, {"rename", "nosuch", "x"}, {"describe", "nosuch", "x"},
		{"list", "nosuch"}, {"sync", "run", "--to", "nosuch"}, {"sync", "run", "--from", "nosuch"}, {"sync", "status", "--to", "nosuch"},
	} {
		m.refused(3, none, args...)
	}
	m.refused(3, "nosnap", "create", "-e", "debian@nosnap", "x")
	m.refused(2, "snapshot", "create", "-e", "debian@", "x")
	m.refused(2, "snapshot", "create", "-e", "debian@a/b", "x")
	m.refused(2, "NAME=VALUE", "create", "-o", "nope", "x")
	for _, o := range []string{"nosuch=1", "compression=bogus", "mountpoint=/x", "canmount=on"} {
		m.refused(2, strings.SplitN(o, "=", 2)[0], "create", "-o", o, "x")
		m.refused(2, strings.SplitN(o, "=", 2)[0], "create", "-n", "-o", o, "x")
	}
	m.refused(2, "name", "sync", "run", "--from", "", "--to", "new")
	m.refused(2, "--root is empty", "--root", "", "create", "x")
	full := t.TempDir()
	write(t, filepath.Join(full, "file"), "x")
	m.refused(4, "is not empty", "mount", "new", full)
	m.refused(3, "no boot environment", "setup", t.TempDir())
	m.refused(3, "/nosuch/dir", "mount", "new", "/nosuch/dir")
	m.refused(2, "not a directory", "mount", "new", filepath.Join(m.root, "etc/passwd"))
	// One that is not there would be made: with what to do in it only.
	m.refused(2, "give the command after --", "upgrade", "nosuch")
	m.refused(2, "--fast is refused", "activate", "--fast", "new")
	m.refused(2, "--fast is refused", "activate", "-t", "--fast", "new")
	m.refused(2, "give the command after --", "upgrade", "new")

	bad := []string{"a b", "a/b", "a\nb", "../x", ".", "-x", "@x", "a@b", ".hidden", "ä", "a\x01", strings.Repeat("a", 65), ""}
	for _, name := range bad {
		m.refused(2, "name", "rename", "--", "new", name)
		m.refused(2, "name", "upgrade", "--", name)
		m.refused(2, "name", "activate", "--", name)
		m.refused(2, "name", "mount", "--", name)
		m.refused(2, "name", "unmount", "--", name)
		m.refused(2, "name", "run", "--", name)
		m.refused(2, "name", "describe", "--", name, "text")
		m.refused(2, "name", "list", "--", name)
		m.refused(2, "name", "import", "--", name)
		if name != "a@b" { // that is a snapshot's
			m.refused(2, "name", "export", "--", name)
			m.refused(2, "name", "create", "--", name)
			m.refused(2, "name", "create", "-e", name, "x")
			m.refused(2, "name", "destroy", "-F", "--", name)
		}
		m.refused(2, "name", "sync", "run", "--to", name)
	}
	m.refused(2, "-x", "create", "-x")
	for _, args := range [][]string{{"create", "new"}, {"create", "-n", "new"}, {"create", "debian"}, {"rename", "new", "debian"}, {"rename", "new", "new"}} {
		m.refused(4, "exists already", args...)
	}
}

func TestWhatRunsAndWhatBootsAreKept(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	for _, flags := range [][]string{{"-F"}, {"-F", "-f"}, {"-n"}, nil} {
		m.refused(4, "cannot destroy debian: it is running", append(append([]string{"destroy"}, flags...), "debian")...)
	}
	m.refused(4, "debian", "rename", "debian", "x")
	m.refused(4, "debian", "mount", "debian")
	m.refused(4, "debian", "unmount", "debian")
	m.refused(4, "it is running", "upgrade", "debian", "--", "/bin/true")
	m.ok("activate", "--permanent", "new")
	for _, flags := range [][]string{{"-F"}, {"-F", "-f"}, {"-n"}, nil} {
		m.refused(4, "cannot destroy new: it is the default", append(append([]string{"destroy"}, flags...), "new")...)
	}
	m.refused(4, "it is the default", "rename", "new", "x")
	m.refused(4, "debian is running", "activate", "debian")
	// One that is mounted goes with -f only.
	m.ok("create", "looked-at")
	dir := strings.TrimSpace(m.ok("mount", "looked-at"))
	m.refused(4, "it is mounted at "+dir, "destroy", "-F", "looked-at")
	m.ok("destroy", "-F", "-f", "looked-at")
	m.refused(3, "looked-at", "mount", "looked-at")
	if slices.Contains(m.mounts(), dir) {
		t.Errorf("%s is still mounted", dir)
	}
	// Without an answer nothing is destroyed.
	m.ok("create", "other")
	cmd := exec.Command(m.beadm, "--root", m.root, "destroy", "other")
	before := m.snapshotWorld()
	if r := start(t, cmd); r.code != 5 || !strings.Contains(r.err, "other has not been destroyed") || m.snapshotWorld() != before {
		t.Error(r)
	}
}

// What was made the default without a trial has to prove good before the one it
// replaced may go.
func TestTheWayBackIsKept(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "spare")
	m.ok("activate", "--permanent", "new")
	m.comeUp()
	m.is("idle", "new", "new")
	for _, flags := range [][]string{{"-F"}, {"-F", "-f"}, {"-n"}, nil} {
		m.refused(4, "debian: it is the way back while new is not confirmed", append(append([]string{"destroy"}, flags...), "debian")...)
	}
	m.ok("destroy", "-F", "spare")
	m.ok("confirm", "-n")
	m.refused(4, "the way back", "destroy", "-F", "debian")
	m.ok("confirm")
	m.ok("destroy", "-F", "debian")
}

func TestWhatCannotComeBackIsNotActivated(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	broken := func(path, says string) {
		t.Helper()
		dir := strings.TrimSpace(m.ok("mount", "new"))
		file := filepath.Join(dir, path)
		check(t, os.Rename(file, file+".gone"))
		m.ok("unmount", "new")
		for _, args := range [][]string{{"activate", "new"}, {"activate", "-t", "new"}, {"activate", "--permanent", "new"}, {"activate", "-n", "new"}} {
			m.refused(14, says, args...)
		}
		dir = strings.TrimSpace(m.ok("mount", "new"))
		file = filepath.Join(dir, path)
		check(t, os.Rename(file+".gone", file))
		m.ok("unmount", "new")
	}
	broken("usr/lib/beadm/init", "cannot activate new: it holds no beadm; mount it and run beadm setup")
	broken("sbin/init", "cannot activate new: it has no /sbin/init")
	broken("etc/beadm/identity", "was set up for another host")
	fstab := func(line, says string) {
		t.Helper()
		write(t, filepath.Join(m.top, "@be-new/etc/fstab"), "proc /proc proc defaults 0 0\n"+line+"\n")
		for _, args := range [][]string{{"activate", "new"}, {"activate", "--permanent", "new"}} {
			if says == "" {
				m.ok(append(args, "-n")...)
				continue
			}
			m.refused(14, "cannot activate new: its fstab names another root: "+says, args...)
		}
	}
	fstab("UUID="+m.fsid+" / btrfs subvol=@debian 0 0", "the subvolume /@debian is on /, and this is /@be-new; correct that line, or take it out")
	fstab("UUID=6f9a1d5e-6a7c-4f4e-9a52-0d9f3f1c2b11 / btrfs subvol=@be-new 0 0", "the file system 6f9a1d5e")
	fstab("/dev/vda1 / ext4 defaults 0 1", "/dev/vda1 on / is ext4")
	fstab("UUID="+m.fsid+" / btrfs subvol=@be-new 0 0", "")
	fstab("", "")
	m.ok("activate", "new")

	// The advice of the sentence helps.
	m.ok("create", "bare", "--empty")
	m.refused(14, "holds no beadm", "activate", "bare")
	dir := strings.TrimSpace(m.ok("mount", "bare"))
	check(t, os.MkdirAll(filepath.Join(dir, "sbin"), 0o755))
	write(t, filepath.Join(dir, "sbin/init"), "x")
	m.ok("setup", dir)
	m.ok("unmount", "bare")
	// It has nothing of what is here.
	m.ok("activate", "bare", "-n", "--leave-behind")
}

func TestNotRoot(t *testing.T) {
	m := newMachine(t)
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	for _, args := range [][]string{
		{"list"}, {"status"}, {"history"}, {"create", "x"}, {"destroy", "-F", "debian"}, {"activate", "debian"}, {"activate", "-T"}, {"upgrade", "x"},
		{"mount", "debian"}, {"unmount", "debian"}, {"rename", "debian", "x"}, {"describe", "debian", "x"}, {"rollback"}, {"confirm"}, {"boot"}, {"recover"},
		{"run", "debian"}, {"status", "--acknowledge"}, {"setup", "/mnt"},
		{"setup"}, {"setup", "--loader", "stub", "--loader-dir", m.loader}, {"share", "init"}, {"share", "status"}, {"sync", "run", "--to", "debian"}, {"sync", "status", "--to", "debian"},
	} {
		cmd := exec.Command(m.beadm, append([]string{"--root", m.root}, args...)...)
		cmd.Dir, cmd.SysProcAttr = "/", nobody
		m.refusedCmd(6, "must be run as root", cmd)
	}
}

// onStore are the commands that need a store that is set up.
var onStore = [][]string{
	{"create", "x"}, {"destroy", "-F", "debian"}, {"activate", "debian"}, {"activate", "-T"}, {"upgrade", "x", "--", "/bin/true"},
	{"mount", "debian"}, {"unmount", "debian"}, {"rename", "debian", "x"}, {"describe", "debian", "x"}, {"rollback"}, {"confirm"},
	{"recover"}, {"share", "init"}, {"sync", "run", "--to", "debian"}, {"status", "--acknowledge"}, {"run", "debian"}, {"setup", "/mnt"},
}

func TestNoStore(t *testing.T) {
	m := newBareMachine(t)
	// The temporary directory may stand on a btrfs: here is one that does not.
	dir := t.TempDir()
	check(t, unix.Mount("none", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	for _, args := range append(onStore, []string{"list"}, []string{"status"}, []string{"boot"}, []string{"setup", "--loader", "stub", "--loader-dir", m.loader}) {
		m.refusedCmd(10, "there are no boot environments at "+dir, exec.Command(m.beadm, append([]string{"--root", dir}, args...)...))
	}
	m.refused(10, "/nosuch", "--beroot", "/nosuch", "list")
	m.refused(10, "nosuch/ROOT", "--beroot", "nosuch/ROOT", "list")
	m.refused(10, "nosuch+vg", "--beroot", "nosuch+vg/pool", "list")
	m.refused(2, "-vg/pool", "--beroot", "-vg/pool", "list")
	for _, args := range onStore {
		m.refused(10, "beadm is not set up here: run beadm setup", args...)
	}
	// Looking needs no setup, and leaves nothing either.
	before := m.snapshotWorld()
	for _, args := range [][]string{{"list"}, {"status"}, {"history"}, {"boot"}, {"share", "status"}} {
		m.ok(args...)
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("looking changed\n%s", differ(before, after))
	}
	m.refused(2, "there is no loader", "setup", "--loader", "lilo")
	m.refused(2, "on ZFS", "setup", "--loader", "zfsbootmenu")
	m.refused(2, "there is no token", "setup", "--trial-token", "x")
	m.refused(2, "for GRUB alone", "setup", "--loader", "stub", "--loader-dir", m.loader, "--trial-token", "bootnext")
	m.refused(2, "is not a directory", "setup", "--loader", "stub", "--loader-dir", "/nosuch")
	m.refused(2, "none of auto, root and loader", "setup", "--loader", "grub", "--kernels", "here")
	m.refused(2, "not for systemd-boot", "setup", "--loader", "systemd-boot", "--loader-dir", "/efi", "--kernels", "root")
	m.refused(2, "not for stub", "setup", "--loader", "stub", "--loader-dir", m.loader, "--kernels", "auto")
	for _, dir := range []string{"/boot", "/boot/", "/usr/../boot"} {
		m.refused(14, "the ESP is mounted on /boot", "setup", "--loader", "systemd-boot", "--loader-dir", dir)
		m.refused(14, "GRUB's partition is mounted on /boot", "setup", "--loader", "grub", "--loader-dir", dir)
	}
}

// TestSetupKnowsBootByItsFileSystem: an ESP on /boot is that by any name.
func TestSetupKnowsBootByItsFileSystem(t *testing.T) {
	boot := t.TempDir()
	check(t, unix.Mount("boot", boot, "tmpfs", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(boot, 0)) })
	esp := filepath.Join(boot, "efi")
	check(t, os.MkdirAll(filepath.Join(boot, "dir"), 0o755))
	check(t, os.Mkdir(esp, 0o755))
	link := filepath.Join(t.TempDir(), "efi")
	check(t, os.Symlink(boot, link))
	check(t, unix.Mount("esp", esp, "tmpfs", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(esp, 0)) })
	for dir, want := range map[string]bool{boot: true, link: true, filepath.Join(boot, "dir"): true, esp: false, "/": false, "/nosuch": false} {
		if got := isBoot(dir, boot, "/"); got != want {
			t.Errorf("%s: %v, want %v", dir, got, want)
		}
	}
	// With /boot on the root file system nothing there is an ESP, but /boot
	// itself is still not to be named.
	if isBoot("/usr", "/", "/") || !isBoot("/boot", "/boot", "/") {
		t.Error("/boot on the root file system")
	}
}

// lockFile is that of the state, seen from the top level.
func (m *machine) lockFile() string {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(m.top, "@beadm/*/lock"))
	if err != nil || len(files) != 1 {
		m.t.Fatalf("lock files: %q %v", files, err)
	}
	return files[0]
}

func TestTwoAtOnce(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	f, err := os.OpenFile(m.lockFile(), os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	check(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	// One that has just taken it has not said yet who it is.
	m.refused(11, "another beadm is at work", "create", "x")
	_, err = f.WriteString("pid 4711 (beadm upgrade)\n")
	check(t, err)
	for _, args := range [][]string{
		{"create", "x"}, {"destroy", "-F", "new"}, {"activate", "new"}, {"activate", "-T"}, {"upgrade", "new", "--", "/bin/true"}, {"mount", "new"}, {"unmount", "new"},
		{"rename", "new", "x"}, {"describe", "new", "x"}, {"rollback"}, {"confirm"}, {"recover"}, {"share", "init"}, {"sync", "run", "--to", "new"},
		{"run", "new"}, {"setup", "/mnt"}, {"create", "-n", "x"}, {"activate", "-n", "new"}, {"sync", "status", "--to", "new"},
		{"status", "--acknowledge"}, {"setup", "--loader", "stub", "--loader-dir", m.loader}, {"boot"},
		// These mount it, and unmount it when they are done.
		{"sync", "list", "--from", "new"},
	} {
		m.refused(11, "pid 4711 (beadm upgrade) is at work on this store", args...)
	}
	m.ok("list") // who looks, waits for nobody
	m.ok("status")
}

// TestBesideAnUpgrade: the holder is the program itself.
func TestBesideAnUpgrade(t *testing.T) {
	m := newMachine(t)
	if !m.addShell() {
		t.Fatal("there is no /bin/busybox: install busybox-static")
	}
	cmd := exec.Command(m.beadm, "--root", m.root, "upgrade", "new", "--", "/bin/sh", "-c", "echo ready >/etc/patched; exec sleep 60")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	check(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if b, _ := os.ReadFile(filepath.Join(m.top, "@be-new/etc/patched")); len(b) > 0 {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("the upgrade ended: %v: %s", err, errs.String())
		default:
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			t.Fatalf("the upgrade does not start: %s", errs.String())
		}
	}
	m.refused(11, fmt.Sprintf("pid %d (beadm --root %s upgrade new", cmd.Process.Pid, m.root), "create", "x")
	m.refused(11, "is at work", "upgrade", "new", "--", "/bin/true")
	// While it works, who looks does not take the mounts away from it.
	if r := start(t, exec.Command(m.beadm, "--root", m.root, "list", "-H")); r.code != 0 || !strings.Contains(r.out, "new") {
		t.Error(r)
	}
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		t.Fatal("SIGTERM does not end an upgrade")
	}
	m.noneOfOurs(result{args: cmd.Args[1:], code: cmd.ProcessState.ExitCode(), err: errs.String()})
	m.ok("destroy", "-F", "new")
}

func TestFullFileSystem(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "other")
	fill := func(leave uint64) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(m.top, "fill"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		check(t, err)
		defer f.Close()
		block := make([]byte, 4<<20)
		for {
			var st unix.Statfs_t
			check(t, unix.Statfs(m.top, &st))
			if st.Bavail*uint64(st.Bsize) < leave {
				break
			}
			if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
				break
			} else {
				check(t, err)
			}
			check(t, unix.Syncfs(int(f.Fd())))
		}
	}
	for _, leave := range []uint64{48 << 20, 0} {
		fill(leave)
		for _, args := range [][]string{{"create", "x"}, {"create", "x", "-n"}, {"create", "--empty", "x"}, {"activate", "new"}, {"activate", "-t", "new"}, {"activate", "new", "--permanent"}, {"create", "-a", "x"}} {
			m.refused(12, "nothing was changed", args...)
		}
		m.ok("list")
		m.ok("status")
	}
	// What makes room works with no byte left.
	m.ok("destroy", "-F", "other")
	check(t, os.Remove(filepath.Join(m.top, "fill")))
	sh(t, "btrfs", "filesystem", "sync", m.top)
	m.ok("create", "x")
}

// leaves calls f for every command that does something, with its full name.
// Those that are hidden reset the machine.
func leaves(cmds []*cli.Command, above []string, f func([]string, *cli.Command)) {
	for _, c := range cmds {
		if c.Hidden {
			continue
		}
		name := append(slices.Clone(above), c.Name)
		if len(c.Subcommands) == 0 {
			f(name, c)
		}
		leaves(c.Subcommands, name, f)
	}
}

func TestWrongUsage(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	n := 0
	leaves(commands(), nil, func(name []string, c *cli.Command) {
		n++
		with := func(args ...string) []string { return append(slices.Clone(name), args...) }
		m.refused(2, "no-such-flag", with("--no-such-flag")...)
		m.refused(2, "no-such-flag", with("new", "--no-such-flag")...)
		m.refused(2, "no-such-flag", with("new", "x", "--no-such-flag=1")...)
		m.refused(2, "-Z", with("-Z")...)
		m.refused(2, "-Z", with("new", "-Z")...)
		// After -- they are arguments, which nobody drops either.
		before := m.snapshotWorld()
		if r := m.run(with("--", "-n")...); r.code == 0 || r.out != "" {
			t.Errorf("-n was dropped: %v", r)
		}
		if after := m.snapshotWorld(); after != before {
			t.Errorf("%q -- -n changed\n%s", name, differ(before, after))
		}
		for _, f := range c.Flags {
			if takesValue(c.Flags, f.Names()[0]) {
				dash := "--"
				if len(f.Names()[0]) == 1 {
					dash = "-"
				}
				m.refused(2, "flag needs an argument", with(dash+f.Names()[0])...)
			}
		}
	})
	if n < 18 {
		t.Errorf("%d commands were walked only", n)
	}
	for _, args := range [][]string{
		{"frobnicate"}, {"frobnicate", "new"}, {"--no-such-flag", "list"}, {"-Z"}, {"share", "frobnicate"}, {"sync", "frobnicate"},
		{"create"}, {"destroy"}, {"mount"}, {"unmount"}, {"rename"}, {"rename", "new"}, {"describe"}, {"describe", "new"}, {"upgrade"}, {"activate"},
		{"sync", "run"}, {"sync", "status"},
		{"create", "x", "y"}, {"destroy", "-F", "new", "y"}, {"mount", "new", "y", "z"}, {"unmount", "new", "y"}, {"rename", "new", "y", "z"}, {"describe", "new", "y", "z"},
		{"activate", "new", "y"}, {"list", "new", "y"}, {"status", "y"}, {"rollback", "new"}, {"confirm", "new"}, {"boot", "y"}, {"recover", "y"}, {"history", "y", "z"}, {"version", "y"},
		{"share", "status", "y"}, {"sync", "run", "new"}, {"setup", "x", "y"},
		{"activate", "-t", "-T", "new"}, {"activate", "new", "-t", "-T"}, {"activate", "-t", "--permanent", "new"}, {"activate", "-T", "--permanent"}, {"activate", "-tT", "new"},
		{"create", "--empty", "-e", "new", "x"}, {"mount", "-s", "wr", "new"}, {"list", "-k", "colour"}, {"list", "-H", "--dialect", "klingon"},
		{"activate", "--confirm-within", "soon", "new"}, {"activate", "--confirm-within", "0s", "new"}, {"activate", "--confirm-within=-5m", "new"},
		{"upgrade", "--confirm-within", "1ms", "-a", "new"},
		{"upgrade", "--confirm-within", "5s", "-a", "x"},
		{"--config", "/nosuch.conf", "list"}, {"sync", "run", "--from", "new", "--to", "new"}, {"sync", "run", "--to", "debian"},
	} {
		m.refused(2, "", args...)
	}
	conf := filepath.Join(t.TempDir(), "beadm.conf")
	write(t, conf, "confirm.withn = 5m\n")
	m.refused(2, "confirm.withn", "--config", conf, "list")
}

// TestTimeOfATrial: one in which it could not be confirmed, or that no timer
// can count, is refused and both times are named.
func TestTimeOfATrial(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	conf := filepath.Join(t.TempDir(), "beadm.conf")
	for _, says := range []string{"within 5s:", "hold for 1m0s"} {
		m.refused(2, says, "activate", "--confirm-within", "5s", "new")
	}
	m.refused(2, "hold for 1m0s", "activate", "--confirm-within", "119s", "new")
	m.refused(2, "720h", "activate", "--confirm-within", "2562047h47m16s", "new")
	m.refused(2, "720h", "activate", "--no-auto-confirm", "--confirm-within", "721h", "new")
	write(t, conf, "confirm.hold = 20m\nconfirm.within = 10m\n")
	for _, says := range []string{"within 10m0s:", "hold for 20m0s"} {
		m.refused(2, says, "--config", conf, "activate", "new")
		m.refused(2, says, "--config", conf, "create", "-a", "x")
	}
	for _, args := range [][]string{
		{"activate", "--confirm-within", "120s", "new"}, {"activate", "--confirm-within", "720h", "new"},
		{"activate", "--confirm-within", "5s", "--no-auto-confirm", "new"}, {"activate", "--confirm-within", "5s", "-t", "new"},
		{"--config", conf, "activate", "--confirm-within", "40m", "new"}, {"--config", conf, "list"},
	} {
		m.ok(args...)
	}
}

// TestFlagsAnywhere: a flag behind the name is the flag, never a second name.
func TestFlagsAnywhere(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new", "-d", "a text")
	for _, args := range [][]string{{"activate", "-t", "new"}, {"activate", "new", "-t"}} {
		m.ok(args...)
		if st := m.status(); st.State != "once" || st.Trial == nil || st.Trial.BE != "new" || st.Default != "debian" {
			t.Errorf("%q: %+v", args, st)
		}
		m.ok("activate", "-T")
	}
	before := m.snapshotWorld()
	m.ok("activate", "new", "-n")
	m.ok("destroy", "new", "-n")
	m.ok("create", "x", "-n")
	m.ok("rename", "new", "x", "-n")
	m.ok("describe", "new", "x", "-n")
	m.ok("rollback", "--help")
	if after := m.snapshotWorld(); after != before {
		t.Errorf("a dry run changed\n%s", differ(before, after))
	}
	// What -T takes back is what it names.
	m.ok("activate", "new")
	m.ok("create", "third")
	m.refused(3, "nosuch", "activate", "-T", "nosuch")
	m.refused(4, "new", "activate", "-T", "third")
	m.ok("activate", "-T", "new")
}
