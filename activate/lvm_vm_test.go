//go:build linux && vm

package activate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot/vmtest"
)

// A Debian whose root is a thin volume: the image's, moved to a second disk.
// GRUB reads copies of the kernels on its own partition. A trial is confirmed,
// one that is reset comes back, and a rollback goes back.
func TestVMLVMThinRoot(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the store's suite is run on real LVM, and GRUB with kernels on its partition")
	}
	t.Parallel()
	d := vmtest.NewDisk(t, vmtest.Btrfs)
	second := filepath.Join(t.TempDir(), "lvm.img")
	if err := os.WriteFile(second, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(second, 3<<30); err != nil {
		t.Fatal(err)
	}
	v := d.Start(vmtest.Options{Second: second, Payload: map[string]string{"/usr/local/sbin/beadm": program(t)}})
	v.Install()
	v.Must(short, "mkdir -p /etc/beadm; printf 'confirm.hold = 5s\nconfirm.within = 150s\npanic = 5\n' >/etc/beadm/beadm.conf")
	v.Must(long, `findmnt /boot/beadm || mount /boot/beadm
modprobe dm_thin_pool && vgcreate -q vg /dev/vdc && lvcreate -q -y -L 2500M --thinpool pool vg && lvcreate -q -y -V 1800M --thinpool pool -n root vg
mkfs.ext4 -q /dev/vg/root && mkdir /run/root && mount /dev/vg/root /run/root`)
	v.Must(long, "echo ext4 >>/etc/initramfs-tools/modules; update-initramfs -u >/dev/null 2>&1")
	v.Must(long, `tar -C / --one-file-system --numeric-owner --xattrs --acls -cf - . | tar -C /run/root --numeric-owner --xattrs --acls -xpf -
mkdir -p /run/root/srv && sed -i '1i /dev/mapper/vg-root / ext4 errors=remount-ro 0 1' /run/root/etc/fstab && umount /run/root`)
	v.Must(short, `sed -i 's#root=LABEL=debian rootflags=subvol=@debian#root=/dev/vg/root#' /boot/beadm/grub/grub.cfg && grep -q /dev/vg/root /boot/beadm/grub/grub.cfg && umount /boot/beadm; sync`)
	mark := v.Mark()
	v.Send("systemctl reboot")
	reboots(t, d, v, mark)

	volume := func(wants string) {
		t.Helper()
		same(t, "the root", v.Must(short, "lvs --noheadings -o lv_name /dev/mapper/$(cat /sys/dev/block/$(mountpoint -d /)/dm/name) | tr -d ' '"), wants)
	}
	restart := func(command, wants string) {
		t.Helper()
		mark := v.Mark()
		v.Send(command)
		reboots(t, d, v, mark)
		volume(wants)
		contains(t, "the kernel that was started", v.Must(short, "cat /proc/cmdline"), "BOOT_IMAGE=(hd0,gpt2)/beadm/kernels/linux-", "root=/dev/vg/"+wants+" ")
	}
	volume("root")
	t.Log(v.Must(long, "findmnt /boot/beadm || mount /boot/beadm; beadm -v setup "+withGRUB+" && rm /usr/local/sbin/beadm"))
	t.Log(v.Must(long, "beadm list -a"))
	t.Log(v.Must(long, "beadm share init --stop-all 2>&1; beadm create new && beadm -v activate new 2>&1"))
	restart("systemctl reboot", "be_new")
	waitIdle(t, v, long)
	contains(t, "the fstab", v.Must(short, "cat /etc/fstab"), "/dev/vg/be_new / ext4")
	contains(t, "the shared data's place", v.Must(short, "findmnt -no SOURCE /var/share"), "beadm_varshare")
	restart("beadm rollback --reboot", "root")

	v.Must(long, "beadm create bad && beadm activate bad")
	restart("systemctl reboot", "be_bad")
	restart("reboot -f", "root") // before it is confirmed
	contains(t, "status", v.Must(short, "beadm status"), "FAILED", "reset before it was confirmed")
	out := v.Must(long, "beadm status --acknowledge; beadm destroy -F bad && beadm list -a && lvs -o lv_name,origin,lv_tags vg")
	t.Log(out)
	if strings.Contains(out, "be_bad") {
		t.Error("the destroyed one is still there")
	}
}
