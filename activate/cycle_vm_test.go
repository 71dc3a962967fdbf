//go:build linux && vm

package activate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

const (
	short = time.Minute
	long  = 4 * time.Minute
)

// program builds the beadm under test.
func program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "beadm")
	cmd := exec.Command("go", "build", "-trimpath", "-o", file, "beadm/cmd/beadm")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build beadm: %v: %s", err, out)
	}
	return file
}

// reboots waits for a reset that the guest does by itself, and for the shell
// of what comes up.
func reboots(t *testing.T, d *vmtest.Disk, v *vmtest.VM, mark int) {
	t.Helper()
	start := time.Now()
	v.WaitFor(mark, d.Firmware(), long)
	v.WaitShell(long)
	t.Logf("reset to shell: %.0f s", time.Since(start).Seconds())
}

func contains(t *testing.T, what, out string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("%s does not say %q:\n%s", what, want, out)
		}
	}
}

// waitIdle waits until the trial is confirmed, by the machine itself.
func waitIdle(t *testing.T, v *vmtest.VM, limit time.Duration) string {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		out := v.Must(short, "beadm status")
		if strings.Contains(out, "state:    idle") {
			return out
		}
		if time.Now().After(deadline) {
			logs, _ := v.Run(short, "journalctl -b --no-pager -u beadm-confirm -u beadm-deadman | tail -30; beadm status --json")
			t.Fatalf("not confirmed within %s:\n%s\n%s", limit, out, logs)
		}
		time.Sleep(3 * time.Second)
	}
}

// The arguments of setup for the image's loader, and for what it finds itself.
const (
	withGRUB    = "--loader grub --loader-dir /boot/beadm"
	asItStarted = "--loader-dir /boot/beadm"
)

// ready is a machine with beadm set up and shared data moved.
func ready(t *testing.T, d *vmtest.Disk, beadm string) *vmtest.VM {
	t.Helper()
	return readyWith(t, d, beadm, withGRUB)
}

func readyWith(t *testing.T, d *vmtest.Disk, beadm, setup string) *vmtest.VM {
	t.Helper()
	v := d.Start(vmtest.Options{Payload: map[string]string{"/usr/local/sbin/beadm": beadm}})
	v.Install()
	v.Must(short, "mkdir -p /etc/beadm; printf 'confirm.hold = 5s\nconfirm.within = 150s\npanic = 5\n' >/etc/beadm/beadm.conf")
	t.Log(v.Must(long, "findmnt /boot/beadm || mount /boot/beadm; beadm -v setup "+setup+" && rm /usr/local/sbin/beadm"))
	return v
}

// layout is what differs between the machines that the cycle runs on.
type layout struct {
	disk  func(t *testing.T) *vmtest.Disk
	setup string // its arguments
	// kernel ends with 0 if the command line is that of 9.9-test.
	kernel string
	// root is the source of / by the boot environment that runs.
	root map[string]string
	// local prints what NAME has of its own beside its files: the clone's is
	// the source's.
	local string
	// snapshots lists those of the shared data; shareSnapshot is in it.
	snapshots, shareSnapshot string
}

func TestVMCycleOnZFS(t *testing.T) {
	t.Parallel()
	cycle(t, onZFS(func(t *testing.T) *vmtest.Disk { return vmtest.NewDisk(t, vmtest.ZFS) }, withGRUB, "grep 9.9-test /proc/cmdline"))
}

// A pool that no loader reads: systemd-boot has the kernels on the ESP.
func TestVMCycleOnZFSWithSystemdBoot(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; ZFS with GRUB is run, and systemd-boot's truth table")
	}
	t.Parallel()
	cycle(t, onZFS(func(t *testing.T) *vmtest.Disk {
		return vmtest.NewDisk(t, vmtest.ZFS).SystemdBoot("root=ZFS=rpool/ROOT/debian rw console=ttyS0 panic=5 loglevel=3 mitigations=off tsc=reliable audit=0")
	}, asItStarted, sdbootKernel))
}

func onZFS(disk func(t *testing.T) *vmtest.Disk, setup, kernel string) layout {
	return layout{
		disk:          disk,
		setup:         setup,
		kernel:        kernel,
		root:          map[string]string{"debian": "rpool/ROOT/debian", "new": "rpool/ROOT/new"},
		local:         "zfs get -Hrs local -o name,property,value compression,atime,canmount,org.example:keep rpool/ROOT/NAME | sed s,ROOT/NAME,ROOT/BE,",
		snapshots:     "zfs list -Ht snapshot -o name -r rpool/VARSHARE",
		shareSnapshot: "rpool/VARSHARE@beadm-",
	}
}

// The same where firmware, loader and file system are others.
func TestVMCycleOnBtrfsWithUEFI(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the cycle on ZFS is run, faults on btrfs, and a loader by UEFI")
	}
	t.Parallel()
	cycle(t, onBtrfs(func(t *testing.T) *vmtest.Disk { return vmtest.NewDisk(t, vmtest.Btrfs).UEFI() }, withGRUB, "grep 9.9-test /proc/cmdline"))
}

// And where the loader is another.
func TestVMCycleOnBtrfsWithSystemdBoot(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the loader's truth table is run")
	}
	t.Parallel()
	cycle(t, onBtrfs(sdbootDisk, asItStarted, sdbootKernel))
}

// sdbootKernel ends with 0 if the initrd that was started is the present one:
// systemd-boot's names are those of contents.
const sdbootKernel = "grep initrd-$(sha256sum /boot/initrd.img | cut -c 1-32) /proc/cmdline"

func sdbootDisk(t *testing.T) *vmtest.Disk {
	return vmtest.NewDisk(t, vmtest.Btrfs).SystemdBoot("root=LABEL=debian rootflags=subvol=@debian rw console=ttyS0 panic=5 loglevel=3 mitigations=off tsc=reliable audit=0")
}

func onBtrfs(disk func(t *testing.T) *vmtest.Disk, setup, kernel string) layout {
	return layout{
		disk:          disk,
		setup:         setup,
		kernel:        kernel,
		root:          map[string]string{"debian": "/dev/vda3[/@debian]", "new": "/dev/vda3[/@be-new]"},
		local:         "mkdir -p /n && d=/n && { findmnt -no SOURCE / | grep -q @NAME && d=/ || beadm mount -s ro NAME /n >/dev/null; }; stat -c '%a %U' $d/srv $d/etc/shadow; btrfs subvolume show $d/srv >/dev/null && echo srv is a subvolume; [ $d = / ] || beadm unmount NAME",
		snapshots:     "mount -o subvolid=5 /dev/vda3 /mnt; find /mnt -maxdepth 3 -name '*beadm-*'; umount /mnt",
		shareSnapshot: "varshare",
	}
}

func cycle(t *testing.T, on layout) {
	beadm := program(t)
	d := on.disk(t)
	v := readyWith(t, d, beadm, on.setup)
	runs := func(name string) {
		t.Helper()
		if root := v.Must(short, "findmnt -no SOURCE /"); root != on.root[name] {
			t.Fatalf("%s runs in place of %s:\n%s", root, name, v.Must(short, "beadm status"))
		}
	}
	runs("debian")

	v.Must(short, `useradd -M erin; echo erin:erin | chpasswd
echo "mail one" >/var/mail/alice; chown alice:mail /var/mail/alice; chmod 660 /var/mail/alice
mkdir -p /var/spool/jobs; echo job-1 >/var/spool/jobs/1; echo line-1 >>/var/log/app.log`)
	t.Log(v.Must(long, "beadm share init --stop-all"))
	out := v.Must(short, "beadm share status; ls -ld /var/mail /var/spool; stat -c '%U %G %a' /var/mail/alice; cat /var/mail/alice /var/spool/jobs/1; systemctl is-active cron ssh systemd-journald; systemctl --failed --no-legend --plain")
	contains(t, "the machine after share init", out, "/var/mail -> share/mail", "/var/spool -> share/spool", "alice mail 660", "mail one", "job-1")
	if strings.Contains(out, "inactive") || strings.Contains(out, "failed") {
		t.Errorf("a service was not started again:\n%s", out)
	}

	v.Must(short, "mkdir -p /etc/zfs; echo 1 >/etc/app.conf; echo /etc/app.conf >/etc/beadm/synclist; echo 'notify = cat >>/root/heard' >>/etc/beadm/beadm.conf")
	// The loader's own package, and one that calls its tools: not a byte of
	// what the machine starts from may change.
	loader := "sync; dd if=/dev/vda bs=1M count=2 2>/dev/null | sha256sum; sha256sum /dev/vda2; [ ! -d /sys/firmware/efi ] || cat /sys/firmware/efi/efivars/* | sha256sum"
	before := v.Must(short, loader)
	passwd := v.Must(short, "sha256sum /etc/passwd /etc/motd; ls /var/spool")
	v.Must(long, "beadm upgrade new -- apt-get install -y beadm-demo-pkg nullmailer")
	v.Must(long, "beadm upgrade new -- sh -c 'apt-get install -y --reinstall grub-pc && echo of the package >/etc/app.conf'")
	if after := v.Must(short, loader); after != before {
		t.Errorf("the upgrade reached the boot loader:\n%s\nwas\n%s", after, before)
	}
	if after := v.Must(short, "sha256sum /etc/passwd /etc/motd; ls /var/spool"); after != passwd {
		t.Errorf("the upgrade reached the running system:\n%s\nwas\n%s", after, passwd)
	}
	local := func(name string) string { return v.Must(short, strings.ReplaceAll(on.local, "NAME", name)) }
	same(t, "what the clone has of its own", local("new"), local("debian"))

	v.Must(short, `usermod -L alice; echo 'bob:bob-new' | chpasswd; useradd -m carol; echo 'carol:carol' | chpasswd; userdel dave
echo "mail two" >>/var/mail/alice; echo line-2 >>/var/log/app.log`)
	// Data in the root and in what is subordinate to it is not left behind
	// unsaid.
	v.Must(short, "mkdir /var/lib/db; echo row >/var/lib/db/table; echo page >/srv/page")
	refusal, code := v.Run(long, "beadm activate new")
	contains(t, "the refusal", refusal, "left behind, in debian and not in new:", "/home/carol", "/var/lib/db/table", "/srv/page", "--leave-behind")
	if code != 5 || strings.Contains(refusal, " more; give") {
		t.Errorf("activate leaves data behind, or takes more for data: exit %d:\n%s", code, refusal)
	}
	contains(t, "activate", v.Must(long, "beadm activate --leave-behind new; beadm status"), "state:    armed", "next:     new (one trial)", "default:  debian")
	if out, code := v.Run(short, systemdSleep); code == 0 || !strings.Contains(out, "disabled by config") {
		t.Errorf("hibernation while a trial is armed: exit %d: %s", code, out)
	}
	v.Must(short, `usermod -L erin; echo 'bob:bob-newer' | chpasswd; echo "mail three" >>/var/mail/alice; echo line-3 >>/var/log/app.log; echo of the administrator >/etc/app.conf
mkdir -p /etc/zfs/zfs-list.cache; echo tank/mail >/etc/zfs/zfs-list.cache/tank`)
	bob := v.Must(short, "grep ^bob: /etc/shadow")
	mark := v.Mark()
	v.Send("systemctl reboot")
	reboots(t, d, v, mark)

	runs("new")
	out = v.Must(short, "beadm-demo; getent passwd beadm-demo nullmail mail; ls /var/spool/beadm-demo; tail -1 /etc/motd")
	contains(t, "the package in new", out, "beadm-demo 1.0", "beadm-demo:x:", "first-job", "changed-by-package")
	same(t, "the package's service", v.Must(short, "systemctl is-enabled nullmailer.service"), "enabled")
	same(t, "mail", v.Must(short, "cat /var/mail/alice"), "mail one\nmail two\nmail three")
	same(t, "log", v.Must(short, "cat /var/log/app.log"), "line-1\nline-2\nline-3")
	same(t, "the job", v.Must(short, "cat /var/spool/jobs/1"), "job-1")
	same(t, "the pool that was made meanwhile", v.Must(short, "cat /etc/zfs/zfs-list.cache/tank"), "tank/mail")
	same(t, "bob's password", v.Must(short, "grep ^bob: /etc/shadow"), bob)
	// Locked before and after the activation; the package wrote shadow meanwhile.
	contains(t, "the locks", v.Must(short, "passwd -S alice; passwd -S erin; getent shadow beadm-demo"), "alice L", "erin L", "beadm-demo:")
	contains(t, "carol", v.Must(short, "id carol; passwd -S carol"), "carol P")
	if out, code := v.Run(short, "getent passwd dave; getent shadow dave"); code == 0 {
		t.Errorf("dave, who was removed, is in new: %s", out)
	}
	if out, _ := v.Run(short, "grpck -r; pwck -r -q"); strings.Contains(out, "no matching") || strings.Contains(out, "invalid") || strings.Contains(out, "duplicate") {
		t.Errorf("the account files do not agree: %s", out)
	}
	contains(t, "the shared dataset's snapshots", v.Must(short, on.snapshots), on.shareSnapshot)
	out = waitIdle(t, v, 100*time.Second)
	contains(t, "the status once confirmed", out, "default:  new", "previous: debian")
	if out := v.Must(short, "systemctl --failed --no-legend --plain"); out != "" {
		t.Errorf("failed units in new: %s", out)
	}

	v.Must(short, "test ! -e "+noHibernation)
	// What its boot found is told once it is confirmed, not at some later boot.
	const conflict = "beadm: /etc/app.conf was changed in debian and here: "
	contains(t, "what the notify command heard", heard(v), conflict)
	contains(t, "the journal, asked for conflicts", logged(v, "4a877d1e15b24b7ba7a852646bc5761e"), conflict)
	contains(t, "the journal, asked for activations", logged(v, "7f99e7f4d44d4939ada2f220cbd331bd"), "beadm: activate new activation ")
	contains(t, "the journal, asked for confirmations", logged(v, "8e13dda571144165b3d2e1d803200701"), "beadm: confirm new")
	v.Must(short, `echo 'carol:carol-2' | chpasswd; echo "mail four" >>/var/mail/alice; echo written in new >/etc/app.conf`)
	carol := v.Must(short, "grep ^carol: /etc/shadow")
	mark = v.Mark()
	v.Send("beadm rollback --reboot")
	reboots(t, d, v, mark)
	runs("debian")
	same(t, "mail", v.Must(short, "cat /var/mail/alice"), "mail one\nmail two\nmail three\nmail four")
	same(t, "carol's password", v.Must(short, "grep ^carol: /etc/shadow"), carol)
	same(t, "what was written in new", v.Must(short, "cat /etc/app.conf"), "written in new")
	contains(t, "the locks", v.Must(short, "passwd -S alice; passwd -S erin"), "alice L", "erin L")
	if out, code := v.Run(short, "ls /usr/bin/beadm-demo /etc/beadm-demo.conf || getent passwd beadm-demo || grep changed-by-package /etc/motd"); code == 0 {
		t.Errorf("the package is in the old system: %s", out)
	}
	if strings.Contains(v.Console(), "Failed unmounting") {
		t.Errorf("a shutdown left something mounted:\n%s", v.Console())
	}
	contains(t, "status", v.Must(short, "beadm status"), "state:    idle", "running:  debian", "default:  debian", "previous: new")
	// A kernel that is replaced in place: the default's entry follows it.
	v.Must(short, `old=$(readlink -f /boot/vmlinuz) r=${old#/boot/vmlinuz-} n=9.9-test
cp $old /boot/vmlinuz-$n; cp /boot/initrd.img-$r /boot/initrd.img-$n; cp -a /usr/lib/modules/$r /usr/lib/modules/$n
printf '\0\0\0\0' >>/boot/initrd.img-$n; rm -f /boot/beadm/loader/entries/debian.conf
ln -sf vmlinuz-$n /boot/vmlinuz; ln -sf initrd.img-$n /boot/initrd.img; rm $old /boot/initrd.img-$r
/etc/kernel/postinst.d/zz-beadm $n /boot/vmlinuz-$n`)
	mark = v.Mark()
	v.Send("systemctl reboot")
	reboots(t, d, v, mark)
	runs("debian")
	if out, code := v.Run(short, on.kernel); code != 0 {
		t.Errorf("the kernel that runs is another: %s\n%s", v.Must(short, "cat /proc/cmdline"), out)
	}
	contains(t, "the journal, asked for rollbacks", logged(v, "a5fe89a23023491785ad607456072f01"), "beadm: rollback debian")
	contains(t, "history", v.Must(short, "beadm history"), "upgrade", "activate", "confirm", "rollback")
}

// heard waits for what a notify command `cat >>/root/heard` is told.
func heard(v *vmtest.VM) string {
	return v.Must(2*time.Minute, "for i in $(seq 40); do test -s /root/heard && break; sleep 2; done; cat /root/heard")
}

// logged is what the system's journal has under a message id of beadm(8).
func logged(v *vmtest.VM, id string) string {
	return v.Must(short, "journalctl --no-pager -o cat SYSLOG_IDENTIFIER=beadm MESSAGE_ID="+id)
}

const (
	// systemdSleep is what a hibernation comes to, whoever asks for it.
	systemdSleep  = "/lib/systemd/systemd-sleep hibernate"
	noHibernation = "/run/systemd/sleep.conf.d/zzz-beadm.conf"
)

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is\n%s\nand should be\n%s", what, got, want)
	}
}
