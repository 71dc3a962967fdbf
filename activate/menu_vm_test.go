//go:build linux && vm

package activate_test

import (
	"fmt"
	"os"
	"testing"

	"beadm/activate/boot/vmtest"
)

// A person at the console chooses another boot environment than the one that
// is armed; one is started once; one is armed over another; a trial is rolled
// back. Each time an account was locked shortly before.
func TestVMMenu(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; TestVMPick types the keys at GRUB, TestLockedByEveryWay plays the rest natively")
	}
	t.Parallel()
	beadm := program(t)
	d := vmtest.NewDisk(t, vmtest.Btrfs)
	v := ready(t, d, beadm)
	v.Must(short, "printf 'confirm.hold = 5s\nconfirm.within = 600s\npanic = 5\n' >/etc/beadm/beadm.conf")
	for i := range 7 {
		v.Must(short, "useradd -M user"+string(rune('1'+i))+"; echo user"+string(rune('1'+i))+":secret | chpasswd")
	}
	v.Must(long, "beadm create new && beadm create third && beadm activate third && beadm activate new && test -e "+noHibernation+" && beadm activate -T && test ! -e "+noHibernation)
	contains(t, "the journal, asked for what was taken back", logged(v, "7943ff49aa9e4febb2b7bf7f855da2bc"), "beadm: disarm new")
	// restart reboots and has the nth entry of the menu chosen, as a person
	// does by key; TestVMPick of GRUB's own tests types them. 0 chooses none.
	restart := func(command string, nth int, wants string) {
		t.Helper()
		const config = "/boot/beadm/beadm/grub.cfg"
		v.Must(short, "findmnt /boot/beadm >/dev/null || mount /boot/beadm")
		if nth > 0 {
			v.Must(short, fmt.Sprintf("echo 'set default=%d' >>%s; sync", nth-1, config))
		}
		mark := v.Mark()
		v.Send(command)
		mark = v.WaitFor(mark, d.Firmware(), long)
		v.WaitFor(mark, "Booting `"+wants+"'", long)
		v.WaitShell(long)
		if nth > 0 {
			v.Must(short, "findmnt /boot/beadm >/dev/null || mount /boot/beadm; sed -i '$d' "+config+"; sync")
		}
	}
	is := func(wants ...string) {
		t.Helper()
		contains(t, "status", v.Must(short, "beadm status"), wants...)
	}
	locked := func(users ...string) {
		t.Helper()
		for _, u := range users {
			contains(t, "the lock of "+u, v.Must(short, "passwd -S "+u), u+" L")
		}
	}

	v.Must(long, "usermod -L user1; beadm activate new; usermod -L user2")
	restart("systemctl reboot", 2, "debian")
	is("state:    idle", "running:  debian", "new was armed and not tried", "another was chosen at the boot menu")
	locked("user1", "user2")

	v.Must(long, "beadm activate new; usermod -L user3")
	restart("systemctl reboot", 3, "third")
	is("state:    idle", "running:  third", "default:  debian", "new was armed and not tried")
	locked("user1", "user2", "user3")
	v.Must(short, "usermod -L user4")
	restart("systemctl reboot", 0, "debian")
	is("state:    idle", "running:  debian", "default:  debian")
	locked("user3", "user4")

	v.Must(long, "beadm activate -t new; beadm status | grep 'state:    once'")
	restart("systemctl reboot", 0, "new")
	is("state:    idle", "running:  new", "default:  debian")
	v.Must(short, "usermod -L user5")
	restart("systemctl reboot", 0, "debian")
	is("state:    idle", "running:  debian")
	locked("user4", "user5")

	v.Must(long, "beadm activate new; beadm activate third; usermod -L user6")
	restart("systemctl reboot", 0, "third")
	is("running:  third", "default:  debian")
	v.Must(short, "usermod -L user7")
	restart("beadm rollback --reboot", 0, "debian")
	is("state:    failed", "running:  debian", "rolled back by operator")
	locked("user6", "user7")
}
