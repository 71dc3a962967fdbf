//go:build linux && vm

package activate_test

import (
	"os"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// GRUB on two disks, the second a copy of the first by dd. Armed on the first,
// which is then not there: the second starts the default. The first comes back
// with its old default and its old token, and the firmware starts from it.
func TestVMLoaderOnTwoDisks(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the loaders alone are run on two disks")
	}
	d := quick(t)
	second := d.LoaderDisk()
	one, two := d.LoaderPartUUID(d.File), d.LoaderPartUUID(second)
	off := func(v *vmtest.VM) {
		t.Helper()
		v.Must(short, "umount /boot/beadm /boot/beadm2 2>/dev/null; sync")
		v.Send("poweroff -ff")
		v.WaitOff(short)
	}

	v := d.Boot(vmtest.Options{Second: second})
	v.WaitShell(90 * time.Second)
	v.Must(long, "mkdir -p /boot/beadm2; mount /dev/vda2 /boot/beadm && mount /dev/vdb2 /boot/beadm2 && beadm setup --loader-mirror /boot/beadm2")
	v.Must(long, "beadm create new && beadm create other && beadm activate new")
	contains(t, "on two disks", v.Must(short, "beadm status"), "state:    armed", "on "+one+": asked and armed, ", "on "+two+": mirror, ok")
	off(v)

	d.NameLoader("dddddddd-0000-4000-8000-000000000000")
	v = d.Boot(vmtest.Options{Second: second, StartsBy: 2})
	v.WaitFor(0, "Booting `debian'", long)
	v.WaitShell(120 * time.Second)
	out := v.Must(short, "cat /proc/cmdline; beadm status")
	contains(t, "with the first disk dead", out, "beadm.loader="+two, "new was armed and not tried", "state:    idle", "running:  debian",
		"on "+one+": mirror, MISSING", "on "+two+": asked and armed, this system started from it, ok")
	t.Log(out)
	v.Must(long, "beadm activate --permanent other")
	off(v)

	d.NameLoader(one)
	v = d.Boot(vmtest.Options{Second: second})
	mark := v.WaitFor(0, "Booting `new'", long) // by the old token
	mark = v.WaitFor(mark, "SeaBIOS", long)
	v.WaitFor(mark, "Booting `other'", long)
	v.WaitShell(90 * time.Second)
	out = v.Must(short, "cat /proc/cmdline; beadm status; beadm history | tail -5")
	contains(t, "with the first disk back", out, "beadm.loader="+one, "running:  other", "default:  other", "state:    idle",
		"on "+one+": asked and armed, this system started from it, ok", "on "+two+": mirror, ok", "started by an old token on "+one)
	t.Log(out)
}
