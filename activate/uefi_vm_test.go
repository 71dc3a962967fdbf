//go:build linux && vm

package activate_test

import (
	"os"
	"testing"

	"beadm/activate/boot/vmtest"
)

// GRUB as the firmware's application reads its kernels from the pool, and
// consumes the token on the ESP.
func TestVMZFSWithUEFI(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; ZFS from BIOS and btrfs from UEFI are run")
	}
	t.Parallel()
	beadm := program(t)
	d := vmtest.NewDisk(t, vmtest.ZFS).UEFI()
	v := ready(t, d, beadm)
	restart := func(command, wants string) {
		t.Helper()
		mark := v.Mark()
		v.Send(command)
		reboots(t, d, v, mark)
		same(t, "the root", v.Must(short, "findmnt -no SOURCE /"), "rpool/ROOT/"+wants)
	}
	v.Must(short, "test -d /sys/firmware/efi")
	v.Must(long, "beadm create new && beadm activate new && usermod -L alice")
	restart("systemctl reboot", "new")
	contains(t, "alice's lock", v.Must(short, "passwd -S alice"), "alice L")
	restart("reboot -f", "debian") // before it is confirmed
	contains(t, "status", v.Must(short, "beadm status"), "FAILED", "reset before it was confirmed")
	v.Must(long, "beadm activate new")
	restart("systemctl reboot", "new")
	waitIdle(t, v, long)
	restart("beadm rollback --reboot", "debian")
	contains(t, "status", v.Must(short, "beadm status"), "state:    idle", "default:  debian")
}
