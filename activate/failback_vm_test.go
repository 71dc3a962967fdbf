//go:build linux && vm

package activate_test

import (
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// The ways in which a trial ends that is not healthy. Each leaves the machine
// in the old boot environment with no hand on it, and status says what failed.
func TestVMFailback(t *testing.T) {
	beadm := program(t)
	base := vmtest.NewDisk(t, vmtest.ZFS)
	v := ready(t, base, beadm)
	v.Must(short, "printf 'confirm.hold = 5s\nconfirm.within = 70s\npanic = 5\n' >/etc/beadm/beadm.conf")
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
		wants []string
	}{
		{
			name:  "its init panics",
			spoil: "rm /n/sbin/init; printf '#!/bin/sh\\nexit 1\\n' >/n/sbin/init; chmod 755 /n/sbin/init",
			wants: []string{"FAILED", "new", "reset before it was confirmed"},
		},
		{
			name:  "its root cannot be mounted",
			after: "sed -i s,root=ZFS=rpool/ROOT/new,root=ZFS=rpool/ROOT/nonesuch, /boot/beadm/beadm/entries/*.cfg; grep -l nonesuch /boot/beadm/beadm/entries/*.cfg; sync",
			wants: []string{"FAILED", "new", "did not reach userland"},
		},
		{
			name:  "sshd does not listen",
			spoil: "rm /n/etc/systemd/system/multi-user.target.wants/ssh.service",
			wants: []string{"FAILED", "new", "check failed", "sshd does not listen"},
		},
		{
			name:  "power is cut while it starts",
			cut:   "beadm: trial of new",
			wants: []string{"FAILED", "new", "reset before it was confirmed"},
		},
		{
			name:  "the loader cannot clear its token",
			fail:  true,
			wants: []string{"new was armed and not tried", "the loader could not take its token", "state:    idle"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
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
			out := v.Must(short, "findmnt -no SOURCE /; beadm status; beadm list")
			contains(t, "the machine afterwards", out, append(c.wants, "rpool/ROOT/debian", "running:  debian", "default:  debian")...)
			t.Logf("%.0f s\n%s", time.Since(start).Seconds(), out)
		})
	}
}
