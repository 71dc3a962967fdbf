//go:build linux && vm

package activate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot/vmtest"
)

// A Debian as its installer lays it out with LVM: /boot is an ext4 of its own,
// on a second disk, from which the machine starts, and the root is a thin volume.
// beadm setup --move-boot gives each boot environment its own /boot, and GRUB
// reads copies of the kernels on the former one. A trial is confirmed, one that
// is reset comes back, a rollback goes back, and the kernel's own packages go on
// working.
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
	if out, err := exec.Command("sgdisk", "-a", "2048", "-n1:2048:+1M", "-t1:ef02", "-n2:0:+300M", "-t2:8300", "-n3:0:0", "-t3:8e00", second).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v: %s", err, out)
	}
	v := d.Start(vmtest.Options{Second: second, Payload: map[string]string{"/usr/local/sbin/beadm": program(t)}})
	v.Install()
	v.Must(short, "mkdir -p /etc/beadm; printf 'confirm.hold = 5s\nconfirm.within = 150s\npanic = 5\n' >/etc/beadm/beadm.conf; rmdir /boot/beadm || { umount /boot/beadm && rmdir /boot/beadm; }")
	v.Must(long, `modprobe dm_thin_pool && vgcreate -q vg /dev/vdc3 && lvcreate -q -y -L 2400M --thinpool pool vg && lvcreate -q -y -V 1800M --thinpool pool -n root vg
mkfs.ext4 -q /dev/vdc2 && mkfs.ext4 -q /dev/vg/root && mkdir /run/root && mount /dev/vg/root /run/root && mkdir /run/root/boot && mount /dev/vdc2 /run/root/boot`)
	v.Must(4*long, "echo ext4 >>/etc/initramfs-tools/modules; update-initramfs -u >/dev/null 2>&1")
	v.Must(2*long, `tar -C / --one-file-system --numeric-owner --xattrs --acls -cf - . | tar -C /run/root --numeric-owner --xattrs --acls -xpf -
cd /run/root && mkdir -p srv && printf '%s\n' '/dev/mapper/vg-root / ext4 errors=remount-ro 0 1' "UUID=$(blkid -s UUID -o value /dev/vdc2) /boot ext4 defaults 0 2" >etc/fstab
printf '%s\n' GRUB_TIMEOUT=0 'GRUB_CMDLINE_LINUX="console=ttyS0 panic=5 quiet loglevel=3 mitigations=off tsc=reliable audit=0"' GRUB_TERMINAL=serial >>etc/default/grub`)
	t.Log(v.Must(long, `cd /run/root && for d in dev proc sys; do mount --bind /$d $d; done; grub-install --boot-directory=/run/root/boot /dev/vdc 2>&1 && chroot . update-grub 2>&1 && grep -c vmlinuz boot/grub/grub.cfg
for d in dev proc sys; do umount $d; done; cd /; umount /run/root/boot /run/root && sync`))
	v.Cut()
	v = d.Start(vmtest.Options{Second: second, StartsBy: 2})

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
	same(t, "/boot", v.Must(short, "findmnt -no FSTYPE /boot; ls /boot/grub/grub.cfg"), "ext4\n/boot/grub/grub.cfg")
	contains(t, "check", v.Must(short, "beadm check || :"), "beadm setup --move-boot")
	if out, code := v.Run(short, "beadm setup --loader grub"); code != 10 || !strings.Contains(out, "beadm setup --move-boot -n") {
		t.Errorf("setup without the move ended with %d:\n%s", code, out)
	}
	contains(t, "setup -n", v.Must(long, "beadm setup --move-boot --loader grub -n"), "would copy /boot", "would install the configuration of grub")
	same(t, "/boot", v.Must(short, "findmnt -no FSTYPE /boot"), "ext4")
	t.Log(v.Must(long, "beadm -v setup --move-boot --loader grub 2>&1 && rm /usr/local/sbin/beadm"))
	v.Must(short, `cd /boot && ! findmnt /boot && findmnt /boot/beadm && for f in vmlinuz-* initrd.img-* grub/grubenv; do cmp $f beadm/$f; done && systemctl daemon-reload && systemctl is-active boot-beadm.mount && grep -q ' /boot/beadm ext4' /etc/fstab && head -1 beadm/grub/grub.cfg | grep beadm`)
	contains(t, "setup again", v.Must(long, "beadm -v setup --move-boot --loader grub 2>&1; beadm check || :; beadm status"), "default:  ")
	restart("systemctl reboot", "root")
	v.Must(short, "findmnt /boot/beadm && ! findmnt /boot")

	t.Log(v.Must(long, "beadm list -a"))
	t.Log(v.Must(long, "beadm share init --stop-all 2>&1; beadm create new && beadm -v activate new 2>&1"))
	restart("systemctl reboot", "be_new")
	waitIdle(t, v, long)
	contains(t, "the fstab", v.Must(short, "cat /etc/fstab"), "/dev/vg/be_new / ext4", " /boot/beadm ext4")
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
	// What packages of kernels run writes to this one's own /boot.
	was := v.Must(short, "ls /boot/beadm/beadm/kernels; sha256sum /boot/initrd.img-*")
	t.Log(v.Must(4*long, "mkdir -p /etc/initramfs-tools/scripts/init-top; printf '#!/bin/sh\nexit 0\n' >/etc/initramfs-tools/scripts/init-top/mark; chmod 755 /etc/initramfs-tools/scripts/init-top/mark; dpkg-reconfigure linux-image-$(uname -r) 2>&1"))
	if is := v.Must(short, "ls /boot/beadm/beadm/kernels; sha256sum /boot/initrd.img-*"); is == was {
		t.Errorf("the initrd is the one of before:\n%s", is)
	}
}
