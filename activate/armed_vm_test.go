//go:build linux && vm

package activate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// Of a fault only the trial is of interest: the old system's init is a shell,
// and both start from an initramfs of three megabytes. So a fault costs two
// boots of some ten seconds each. What follows a failed trial in a whole old
// system is TestVMFailback's.

// initShell stands in for systemd, under its name.
const initShell = `#!/bin/sh
[ -e /proc/self ] || mount -t proc proc /proc
[ -e /sys/kernel ] || mount -t sysfs sysfs /sys
mountpoint -q /run || mount -t tmpfs tmpfs /run
exec /usr/local/sbin/test-shell
`

const (
	oldRoot = "@debian"
	newRoot = "@be-new"
	systemd = "usr/lib/systemd/systemd"
)

// slow are the units that no fault needs.
var slow = []string{
	"ssh.service", "cron.service", "systemd-random-seed.service", "systemd-update-utmp.service", "systemd-binfmt.service",
	"systemd-firstboot.service", "systemd-sysusers.service", "systemd-pstore.service", "systemd-machine-id-commit.service",
	"dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount",
	"sys-fs-fuse-connections.mount", "zfs-mount.service", "zfs-share.service", "zfs.target", "e2scrub_reap.service",
	"systemd-tmpfiles-clean.timer", "systemd-logind.service", "systemd-user-sessions.service", "getty.target",
	"modprobe@configfs.service", "modprobe@dm_mod.service", "modprobe@efi_pstore.service", "modprobe@fuse.service", "modprobe@loop.service",
}

// armed is a disk, at rest, on which one trial of new is armed; alice was
// locked since. Its machine runs debian.
func armed(t *testing.T) *vmtest.Disk {
	t.Helper()
	start := time.Now()
	d := quick(t)
	v := d.Boot(vmtest.Options{})
	v.WaitShell(90 * time.Second)
	v.Must(long, "mount /boot/beadm && beadm setup && rm /usr/local/sbin/beadm && beadm create new")
	was := time.Now()
	v.Must(long, "beadm activate new")
	t.Logf("activate: %.0f s", time.Since(was).Seconds())
	// What the trial has to bring over: a lock, and more than goes into a full disk.
	v.Must(short, "usermod -L alice; mkdir -p /root/.ssh; head -c 300000 /dev/urandom | base64 >/root/.ssh/authorized_keys; umount /boot/beadm; sync")
	v.Send("poweroff -ff")
	v.WaitOff(short)
	t.Logf("the armed machine was ready after %.0f s", time.Since(start).Seconds())
	return d
}

// quick is a disk whose init is a shell, with beadm at hand and not set up.
func quick(t *testing.T) *vmtest.Disk {
	t.Helper()
	beadm := program(t)
	d := vmtest.NewDisk(t, vmtest.Btrfs)
	d.Loader("grub/grub.cfg", "quiet loglevel=3", "loglevel=6 systemd.show_status=false")
	d.Edit(func(top string) {
		root := filepath.Join(top, oldRoot)
		data, err := os.ReadFile(beadm)
		must(t, err)
		put(t, filepath.Join(root, "usr/local/sbin/beadm"), string(data), 0o755)
		put(t, filepath.Join(root, "etc/beadm/beadm.conf"), "confirm.hold = 5s\nconfirm.within = 40s\npanic = 2\n", 0o644)
		put(t, one(t, filepath.Join(root, "boot/initrd.img-*")), string(vmtest.Tiny(t, root)), 0o644)
		must(t, os.Rename(filepath.Join(root, systemd), filepath.Join(root, systemd+".whole")))
		put(t, filepath.Join(root, systemd), initShell, 0o755)
		for _, unit := range slow {
			os.Remove(filepath.Join(root, "etc/systemd/system", unit))
			must(t, os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", unit)))
		}
	})
	return d
}

// failed is what status says of a trial that ended so.
func failed(t *testing.T, v *vmtest.VM, says ...string) {
	t.Helper()
	out := v.Must(short, "findmnt -no SOURCE /; beadm status; passwd -S alice")
	contains(t, "the machine afterwards", out, append(says, "[/"+oldRoot+"]", "running:  debian", "default:  debian", "state:    failed", "alice L")...)
	if !regexp.MustCompile(`FAILED:   the trial of new at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d `).MatchString(out) {
		t.Errorf("status does not say what failed and when:\n%s", out)
	}
	t.Log(out)
}

// again activates the new one once more, repaired by a script that runs in it.
func again(t *testing.T, v *vmtest.VM, repair string) {
	t.Helper()
	if repair != "" {
		v.Must(long, "mkdir -p /n && beadm mount new /n && cd /n && { "+repair+"; }; cd / && beadm unmount new")
	}
	contains(t, "a second activation", v.Must(long, "findmnt /boot/beadm >/dev/null || mount /boot/beadm; beadm activate new && beadm status"), "state:    armed", "next:     new (one trial)")
}

// fault is one way for a trial to end.
type fault struct {
	name    string
	spoil   func(t *testing.T, d *vmtest.Disk, top string) // the armed disk, its file system mounted at top
	entry   [2]string                                      // in new's menu entry the one becomes the other
	machine vmtest.Options
	begins  string        // on the console: the fault is there; empty: the loader has started new
	hold    bool          // then the disk answers no more, until the reset
	limit   time.Duration // from then to the reset
	says    []string      // status, in the old system
	refuses string        // activate, until it is repaired
	prepare string        // run in the old system, before activate is tried again
	repair  string        // run in new
	again   bool          // activate it once more
	long    bool          // make test-long only: it takes minutes, or another is much like it
}

func (f fault) run(t *testing.T, base *vmtest.Disk) {
	if f.long && os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it")
	}
	t.Parallel()
	d := base.Clone(t)
	if f.spoil != nil {
		d.Edit(func(top string) { f.spoil(t, d, top) })
	}
	if f.entry[0] != "" {
		d.Loader("beadm/entries/"+entryOf(t, d, newRoot), f.entry[0], f.entry[1])
	}
	v := d.Boot(f.machine)
	mark := v.WaitFor(0, "Booting `new'", long)
	if f.begins != "" {
		mark = v.WaitFor(mark, f.begins, long)
	}
	began := time.Now()
	if f.hold {
		v.HoldDisk()
	}
	mark = v.WaitFor(mark, "SeaBIOS", f.limit)
	reset := time.Since(began)
	if f.hold {
		v.FreeDisk()
	}
	v.WaitFor(mark, "Booting `debian'", short)
	v.WaitShell(90 * time.Second)
	t.Logf("MEASURED %s: reset after %.0f s, the old system after %.0f s", f.name, reset.Seconds(), time.Since(began).Seconds())
	failed(t, v, f.says...)
	if f.refuses != "" {
		out, code := v.Run(long, "mount /boot/beadm; beadm activate new")
		if code != 14 || !strings.Contains(out, f.refuses) {
			t.Errorf("activate of what is still broken ended with %d and said %q", code, out)
		}
	}
	if f.prepare != "" {
		v.Must(short, f.prepare)
	}
	if f.again || f.repair != "" {
		again(t, v, f.repair)
	}
}

// entryOf is the file of the menu entry whose root is that subvolume.
func entryOf(t *testing.T, d *vmtest.Disk, root string) string {
	t.Helper()
	dir := t.TempDir()
	d.Mtools("mcopy", "-s", "::beadm/entries", dir)
	files, _ := filepath.Glob(filepath.Join(dir, "entries/*.cfg"))
	for _, f := range files {
		if text, _ := os.ReadFile(f); strings.Contains(string(text), "subvol="+root+"'") {
			return filepath.Base(f)
		}
	}
	t.Fatalf("no menu entry of %s in %q", root, files)
	return ""
}

// whole gives new its systemd back, with units, a link in
// multi-user.target.wants for each.
func whole(t *testing.T, top string, units map[string]string) {
	t.Helper()
	root := filepath.Join(top, newRoot)
	must(t, os.Rename(filepath.Join(root, systemd+".whole"), filepath.Join(root, systemd)))
	for name, text := range units {
		put(t, filepath.Join(root, "etc/systemd/system", name), text, 0o644)
		want := filepath.Join(root, "etc/systemd/system/multi-user.target.wants", name)
		if strings.Contains(text, "Before=sysinit.target") {
			want = filepath.Join(root, "etc/systemd/system/sysinit.target.wants", name)
		}
		must(t, os.MkdirAll(filepath.Dir(want), 0o755))
		must(t, os.Symlink("../"+name, want))
	}
}

func inNew(top string, path string) string { return filepath.Join(top, newRoot, path) }

// newInit makes a script new's init.
func newInit(script string) func(*testing.T, *vmtest.Disk, string) {
	return func(t *testing.T, _ *vmtest.Disk, top string) {
		put(t, inNew(top, systemd), "#!/bin/sh\n"+script+"\n", 0o755)
	}
}

// loads makes loading a module of that code what new's init does.
func loads(code []byte) func(*testing.T, *vmtest.Disk, string) {
	return func(t *testing.T, d *vmtest.Disk, top string) {
		put(t, inNew(top, "root/fault.ko"), string(vmtest.Module(t, filepath.Join(top, newRoot), code)), 0o644)
		newInit("echo fault begins >/dev/console; insmod /root/fault.ko; echo the fault did not happen >/dev/console; sleep 1000")(t, d, top)
	}
}

func put(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte(text), mode))
	must(t, os.Chmod(file, mode))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// one is the only file of a pattern.
func one(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	must(t, err)
	if len(found) != 1 {
		t.Fatal(fmt.Errorf("wanted one %s: %q", pattern, found))
	}
	return found[0]
}
