//go:build linux && vm

package activate_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// writesInTrial has a service of NEW lock alice, as whoever guesses passwords
// makes it do, and write what no failback brings back.
const writesInTrial = `printf '%s\n' '[Service]' 'Type=oneshot' 'ExecStart=/bin/sh -c "usermod -L alice; echo bob:bob-trial | chpasswd; echo of the trial >/etc/app.conf"' >/n/etc/systemd/system/writes.service; ln -s ../writes.service /n/etc/systemd/system/multi-user.target.wants/writes.service`

// The ways in which a trial ends that is not healthy. Each leaves the machine
// in the old boot environment with no hand on it, and status says what failed.
func TestVMFailback(t *testing.T) {
	beadm := program(t)
	base := vmtest.NewDisk(t, vmtest.ZFS)
	v := ready(t, base, beadm)
	v.Must(short, "printf 'confirm.hold = 5s\nconfirm.within = 70s\npanic = 5\nnotify = cat >>/root/heard\n' >/etc/beadm/beadm.conf")
	badInput(t, v)
	v.Must(short, "echo of before >/etc/app.conf; echo /etc/app.conf >/etc/beadm/synclist; grep ^bob: /etc/shadow >/root/bob")
	v.Must(long, "beadm create new")
	v.Must(short, "sync; zpool sync rpool")
	v.Send("poweroff -f")
	v.WaitOff(short)

	for _, c := range []struct {
		name  string
		spoil string // in the running system, NEW mounted at /n
		after string // the same, once the trial is armed
		fail  bool   // the loader cannot write its token
		cut   string // cut the power when the console says this
		long  bool   // only with BEADM_LONG: TestVMFaults has it on a smaller machine
		wants []string
		keeps []string // of what the trial wrote and what it did not
	}{
		{
			name:  "its init panics",
			long:  true,
			spoil: "printf '#!/bin/sh\\nexit 1\\n' >/n/usr/lib/systemd/systemd",
			wants: []string{"FAILED", "new", "reset before it was confirmed"},
		},
		{
			name:  "its root cannot be mounted",
			long:  true,
			after: "sed -i s,root=ZFS=rpool/ROOT/new,root=ZFS=rpool/ROOT/nonesuch, /boot/beadm/beadm/entries/*.cfg; grep -l nonesuch /boot/beadm/beadm/entries/*.cfg; sync",
			wants: []string{"FAILED", "new", "did not reach userland"},
		},
		{
			name:  "sshd does not listen",
			spoil: "rm /n/etc/systemd/system/multi-user.target.wants/ssh.service; " + writesInTrial,
			// On a slow machine it may be the deadline that ends it; either names the check.
			wants: []string{"FAILED", "new", "sshd does not listen"},
			keeps: []string{"alice L", "bob as before", "/etc/app.conf:of before"},
		},
		{
			name:  "power is cut while it starts",
			long:  true,
			cut:   "beadm: trial of new",
			wants: []string{"FAILED", "new", "reset before it was confirmed"},
		},
		{
			name:  "the loader cannot clear its token",
			long:  true, // GRUB alone is run with that in its own package
			fail:  true,
			wants: []string{"new was armed and not tried", "the loader could not take its token", "state:    idle"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && os.Getenv("BEADM_LONG") == "" {
				t.Skip("NOT RUN: it is in make test-long")
			}
			t.Parallel()
			start := time.Now()
			d := base.Clone(t)
			v := d.Start(vmtest.Options{})
			if c.spoil != "" {
				v.Must(long, "mkdir -p /n && beadm mount new /n && { "+c.spoil+"; } && beadm unmount new")
			}
			v.Must(long, "findmnt /boot/beadm >/dev/null || mount /boot/beadm; beadm activate new")
			if c.after != "" {
				v.Must(short, c.after)
			}
			v.Must(short, "sync; zpool sync rpool; umount /boot/beadm")
			mark := v.Mark()
			switch {
			case c.fail:
				v.Cut()
				v, mark = d.Boot(vmtest.Options{FailSave: d.FATSector("# GRUB Environment Block")}), 0
			case c.cut != "":
				v.Send("reboot -f")
				v.CutAt(mark, c.cut, long)
				v, mark = d.Boot(vmtest.Options{}), 0
			default:
				v.Send("reboot -f")
				mark = v.WaitFor(mark, "Booting `new'", long)
				mark = v.WaitFor(mark, "SeaBIOS", long)
			}
			v.WaitFor(mark, "Booting `debian'", long)
			v.WaitShell(long)
			out := v.Must(short, "findmnt -no SOURCE /; beadm status; beadm list; passwd -S alice; grep -qxFf /root/bob /etc/shadow && echo bob as before; grep -H . /etc/app.conf")
			contains(t, "the machine afterwards", out, c.keeps...)
			contains(t, "the machine afterwards", out, append(c.wants, "rpool/ROOT/debian", "running:  debian", "default:  debian")...)
			t.Logf("%.0f s\n%s", time.Since(start).Seconds(), out)
			if c.fail {
				return
			}
			contains(t, "what a login is told", v.Must(short, "cat /run/motd.d/beadm"), "beadm: the trial of new failed at ")
			contains(t, "the log", v.Must(short, "journalctl -b -p err --no-pager"), "beadm: back in debian: the trial of new failed")
			told := []string{"beadm: the trial of new failed at ", c.wants[len(c.wants)-1], "debian runs again"}
			contains(t, "what the notify command heard", heard(v), told...)
			contains(t, "the journal, asked for failed trials", logged(v, "c284e935370847fdafd1d4f2a4be3d4f"), told...)
			v.Must(short, "beadm status --acknowledge")
			if out, code := v.Run(short, "cat /run/motd.d/beadm || zfs list -Ht snapshot -o name -r rpool/ROOT/debian | grep failback"); code == 0 {
				t.Errorf("left after it was read: %s", out)
			}
		})
	}
}

// The same with systemd-boot, as far as it is another: what takes the token,
// and what comes after an entry that cannot be started.
func TestVMFailbackWithSystemdBoot(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the loader's truth table is run, and failback with GRUB")
	}
	beadm := program(t)
	base := sdbootDisk(t)
	v := readyWith(t, base, beadm, asItStarted)
	v.Must(short, "printf 'confirm.hold = 5s\nconfirm.within = 70s\npanic = 5\n' >/etc/beadm/beadm.conf")
	v.Must(long, "beadm create new; sync")
	v.Send("poweroff -f")
	v.WaitOff(short)
	for _, c := range []struct {
		name  string
		spoil string // in the running system, NEW mounted at /n
		after string // the same, once the trial is armed
		cut   string // cut the power when the console says this
		long  bool   // TestVMFailback has it too
		wants []string
	}{
		{
			name:  "its init panics",
			long:  true,
			spoil: "printf '#!/bin/sh\\nexit 1\\n' >/n/usr/lib/systemd/systemd",
			wants: []string{"FAILED", "new", "reset before it was confirmed"},
		},
		{
			name:  "its root cannot be mounted",
			long:  true,
			after: "sed -i s,subvol=@be-new,subvol=@nonesuch, /boot/beadm/loader/entries/*-trial.conf; grep -l nonesuch /boot/beadm/loader/entries/*.conf; sync",
			wants: []string{"FAILED", "new", "did not reach userland"},
		},
		{
			name:  "its kernel is gone from the ESP",
			spoil: "printf '\\0\\0\\0\\0' >>/n/boot/vmlinuz",
			after: "rm /boot/beadm$(sed -n 's/^linux //p' /boot/beadm/loader/entries/*-trial.conf); sync",
			wants: []string{"FAILED", "new", "did not reach userland"},
		},
		{
			name:  "power is cut while it starts",
			long:  true,
			cut:   "beadm: trial of new",
			wants: []string{"FAILED", "new", "reset before it was confirmed"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && os.Getenv("BEADM_LONG") == "" {
				t.Skip("NOT RUN: it is in make test-long")
			}
			t.Parallel()
			d := base.Clone(t)
			v := d.Start(vmtest.Options{})
			if c.spoil != "" {
				v.Must(long, "mkdir -p /n && beadm mount new /n && { "+c.spoil+"; } && beadm unmount new")
			}
			v.Must(long, "findmnt /boot/beadm >/dev/null || mount /boot/beadm; beadm activate new; bootctl --no-pager status")
			if c.after != "" {
				v.Must(short, c.after)
			}
			v.Must(short, "sync; umount /boot/beadm")
			mark := v.Mark()
			v.Send("reboot -f")
			if c.cut != "" {
				v.CutAt(mark, c.cut, long)
				v, mark = d.Boot(vmtest.Options{}), 0
			}
			mark = v.WaitFor(mark, "beadm: back in debian: the trial of new failed", 2*long)
			v.WaitFor(mark, "Started .*test-shell", long)
			v.WaitShell(long)
			out := v.Must(short, "findmnt -no SOURCE /; beadm status; beadm list")
			contains(t, "the machine afterwards", out, append(c.wants, "[/@debian]", "running:  debian", "default:  debian")...)
			contains(t, "the log", v.Must(short, "journalctl -b -p err --no-pager"), "beadm: back in debian: the trial of new failed")
			v.Must(short, "beadm status --acknowledge")
			if out, code := v.Run(short, "mount /boot/beadm; ls /sys/firmware/efi/efivars/LoaderEntryOneShot-* /boot/beadm/loader/entries/*-trial.conf"); code == 0 {
				t.Errorf("left of the trial: %s", out)
			}
		})
	}
}

// badInput is what only a real kernel and a real pool show; the rest of it is
// tested on btrfs, by the program's own tests. Nothing may change.
func badInput(t *testing.T, v *vmtest.VM) {
	t.Helper()
	world := func() string {
		t.Helper()
		return v.Must(long, `zfs list -Ht all -o name,guid,canmount,mountpoint -r rpool
cd /boot/beadm && find . -type f | sort | xargs sha256sum
mkdir -p /s && mount -t zfs rpool/beadm /s && cd /s && find . -type f ! -name lock | sort | xargs sha256sum; cd /; umount /s`)
	}
	refused := func(code int, says, command string) {
		t.Helper()
		before := world()
		out, got := v.Run(long, command)
		if got != code || !strings.Contains(out, says) || strings.Count(strings.TrimSpace(out), "\n") != 0 {
			t.Errorf("%s: wanted exit %d and %q in one sentence, got %d:\n%s", command, code, says, got, out)
		}
		if after := world(); after != before {
			t.Errorf("%s changed\n%s\nto\n%s", command, before, after)
		}
	}
	refused(4, "debian exists already", "beadm create debian")
	refused(4, "it is running", "beadm destroy -F debian")
	refused(3, "there is no boot environment nonesuch", "beadm activate nonesuch")
	v.Must(long, "beadm create bare; mkdir -p /n")
	within := func(script string) {
		t.Helper()
		v.Must(long, "beadm mount bare /n; cd /n && { "+script+"; }; cd /; beadm unmount bare")
	}
	within("mv usr/lib/beadm/init kept")
	refused(14, "it holds no beadm", "beadm activate bare")
	within("mv kept usr/lib/beadm/init; mv usr/lib/modules kept")
	refused(14, "modules", "beadm activate bare")
	within("mv kept usr/lib/modules; mkdir kept; mv boot/vmlinuz* kept")
	refused(14, "no kernel", "beadm activate bare")
	within("mv kept/* boot; mv sbin/init kept; ln -s /bin/busybox sbin/init")
	refused(14, "its init is not systemd", "beadm activate bare")
	within("rm sbin/init; mv kept/init sbin")
	within("cp etc/fstab /tmp/fstab; echo 'rpool/ROOT/debian / zfs defaults 0 0' >>etc/fstab")
	refused(14, "rpool/ROOT/debian is on /, and this is rpool/ROOT/bare", "beadm activate bare")
	// Another hostid, appended to the initrd; then in all files, and the pool's
	// own is left.
	v.Must(short, `mkdir -p /tmp/i/etc; printf '\1\2\3\4' >/tmp/i/etc/hostid; cd /tmp/i; echo etc/hostid | cpio -o -H newc --quiet | gzip >/tmp/i.gz; cd; cp /etc/hostid /tmp/hostid`)
	within("cp /tmp/fstab etc/fstab; cp boot/initrd.img-* /tmp/initrd; cat /tmp/i.gz >>$(echo boot/initrd.img-*)")
	refused(14, "/etc/hostid in its initrd is not that in its root", "beadm activate bare")
	v.Must(short, "cp /tmp/i/etc/hostid /etc/hostid")
	within("cp /tmp/i/etc/hostid etc/hostid")
	refused(14, "its hostid is 04030201 and the pool is the host adbeadbe's", "beadm activate bare")
	v.Must(short, "cp /tmp/hostid /etc/hostid")
	within("cp /tmp/hostid etc/hostid; cp /tmp/initrd $(echo boot/initrd.img-*)")
	if out := v.Must(long, "beadm activate -n --leave-behind bare"); strings.Contains(out, "cannot see") {
		t.Errorf("the pool's host is not seen: %s", out)
	}
	refused(14, "debian, which could not boot: no kernel", "(mkdir /kept; mv /boot/vmlinuz* /kept; beadm activate bare; said=$?; mv /kept/* /boot; rmdir /kept; exit $said)")
	// Full: all that is free is somebody's.
	v.Must(short, "zfs create -o mountpoint=none -o refreservation=$(( $(zfs get -Hpo value available rpool) - 20000000 )) rpool/fill")
	refused(12, "nothing was changed", "beadm create x")
	refused(12, "nothing was changed", "beadm activate bare")
	v.Must(long, "zfs destroy rpool/fill; beadm destroy -F bare")
}
