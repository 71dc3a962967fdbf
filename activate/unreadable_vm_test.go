//go:build linux && vm

package activate_test

import (
	"os"
	"strings"
	"testing"

	"beadm/activate/boot/vmtest"
)

// A pool that GRUB stops being able to read while the machine runs: zpool
// upgrade, and a dataset with zstd. The next activation brings the kernels of
// all boot environments to GRUB's partition, first that of the way back, and a
// trial, a failback, a confirmed switch and a rollback start from there.
func TestVMZFSThatGRUBCannotRead(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; pools that GRUB reads are run, and GRUB alone with kernels on its partition")
	}
	t.Parallel()
	beadm := program(t)
	d := vmtest.NewDisk(t, vmtest.ZFS)
	v := ready(t, d, beadm)
	restart := func(command, wants string) {
		t.Helper()
		mark := v.Mark()
		v.Send(command)
		reboots(t, d, v, mark)
		same(t, "the root", v.Must(short, "findmnt -no SOURCE /"), "rpool/ROOT/"+wants)
		contains(t, "the kernel that was started", v.Must(short, "cat /proc/cmdline"), "BOOT_IMAGE=(hd0,gpt2)/beadm/kernels/linux-")
	}
	if out := v.Must(short, "ls /boot/beadm/beadm"); strings.Contains(out, "kernels") {
		t.Errorf("kernels were brought for a pool that GRUB reads:\n%s", out)
	}
	v.Must(long, "beadm create new && beadm status")
	t.Log(v.Must(short, `zpool set compatibility=off rpool && zpool upgrade rpool
zfs create -o compression=zstd -o mountpoint=none rpool/zstd && mkdir /run/q && mount -t zfs -o zfsutil rpool/zstd /run/q
yes | head -c 300000 >/run/q/x; umount /run/q; zpool sync rpool; zpool get -H -o value feature@zstd_compress rpool`))
	contains(t, "status", v.Must(short, "beadm status"), "MENU: ", "zstd_compress", "beadm recover")

	out := v.Must(long, "beadm -v activate new 2>&1; ls -l /boot/beadm/beadm/kernels; grep -l beadm_dir /boot/beadm/beadm/entries/*")
	t.Log(out)
	if strings.Count(out, "linux-") != 1 || strings.Count(out, "initrd-") != 1 || strings.Count(out, ".cfg") != 2 {
		t.Errorf("not one kernel for two entries:\n%s", out)
	}
	if out := v.Must(short, "beadm status"); strings.Contains(out, "MENU:") {
		t.Errorf("status: %s", out)
	}
	restart("systemctl reboot", "new")
	restart("reboot -f", "debian") // before it is confirmed
	contains(t, "status", v.Must(short, "beadm status"), "FAILED", "reset before it was confirmed")
	v.Must(long, "beadm activate new")
	restart("systemctl reboot", "new")
	waitIdle(t, v, long)
	restart("beadm rollback --reboot", "debian")
	contains(t, "status", v.Must(short, "beadm status"), "state:    idle", "default:  debian")

	// There is no room for another kernel: refused, and nothing changes.
	v.Must(short, "head -c 60000000 /dev/zero >/boot/beadm/fill; sync; true")
	v.Must(long, "beadm run new -- sh -c 'printf \"\\\\0\\\\0\\\\0\\\\0\" >>$(readlink -f /boot/initrd.img)'")
	before := v.Must(short, "cat /boot/beadm/beadm/entries/* | sha256sum; ls /boot/beadm/beadm/kernels")
	refusal, code := v.Run(long, "beadm activate new")
	contains(t, "the refusal", refusal, "no room for the kernel", "bytes")
	if code != 14 {
		t.Errorf("exit %d: %s", code, refusal)
	}
	same(t, "GRUB's partition", v.Must(short, "cat /boot/beadm/beadm/entries/* | sha256sum; ls /boot/beadm/beadm/kernels"), before)
	v.Must(long, "rm /boot/beadm/fill; beadm destroy -F new")
	if out := v.Must(short, "ls /boot/beadm/beadm/kernels"); len(strings.Fields(out)) != 2 {
		t.Errorf("the kernel and the initrd of debian are not what is left:\n%s", out)
	}
}
