//go:build linux && vm

package activate_test

import (
	"os"
	"strings"
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

// The firmware takes the token: a trial that dies before its userland, one that
// is reset before it is confirmed, and one that holds.
func TestVMTrialByBootNext(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; GRUB and OVMF alone are run")
	}
	t.Parallel()
	beadm := program(t)
	d := vmtest.NewDisk(t, vmtest.Btrfs).UEFI()
	v := readyWith(t, d, beadm, withGRUB+" --trial-token bootnext")
	restart := func(command, wants string) {
		t.Helper()
		mark := v.Mark()
		v.Send(command)
		reboots(t, d, v, mark)
		contains(t, "the root", v.Must(short, "findmnt -no SOURCE /"), wants)
	}
	const ours = `cd /sys/firmware/efi/efivars; for f in Boot0*; do tr -d '\0' <$f | grep -aq 'beadm trial' && echo $f; done; ls BootNext-* 2>/dev/null`
	nothing := func() {
		t.Helper()
		if out, _ := v.Run(short, ours); strings.Contains(out, "Boot") {
			t.Errorf("the firmware still has %s", out)
		}
	}
	nothing()
	v.Must(long, "beadm create new && beadm activate new")
	if out, _ := v.Run(short, ours); !strings.Contains(out, "BootNext-") || !strings.Contains(out, "Boot0") {
		t.Errorf("armed, the firmware has %s", out)
	}
	restart("systemctl reboot", "@be-new")
	nothing() // struck out as soon as it came up
	restart("reboot -f", "@debian")
	contains(t, "status", v.Must(short, "beadm status"), "FAILED", "reset before it was confirmed")
	v.Must(long, "beadm activate new && mount -o subvol=@be-new /dev/vda3 /mnt && cp /bin/false /mnt/usr/lib/beadm/init && umount /mnt")
	restart("systemctl reboot", "@debian") // PID 1 ends: the kernel panics, and resets
	contains(t, "status", v.Must(short, "beadm status"), "FAILED", "userland")
	nothing()
	v.Must(long, "beadm status --acknowledge && beadm create third && beadm activate third")
	restart("systemctl reboot", "@be-third")
	waitIdle(t, v, long)
	nothing()
	restart("systemctl reboot", "@be-third")
	restart("beadm rollback --reboot", "@debian")
	contains(t, "status", v.Must(short, "beadm status"), "state:    idle", "default:  debian")
}
