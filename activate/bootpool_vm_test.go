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

// importBoot is the unit of OpenZFS' guides, which is in no order with
// zfs-import.target.
const importBoot = `[Unit]
DefaultDependencies=no
Before=zfs-import-scan.service zfs-import-cache.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/zpool import -N -o cachefile=none -d /dev/vdc1 bpool
[Install]
WantedBy=zfs-import.target
`

// /boot is in a pool of its own, as OpenZFS' guides and Ubuntu have it: each boot
// environment has one, and mounts its own, though the line of fstab that it was
// cloned with names another.
func TestVMBootPool(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the store's contract with a boot pool is run, and the cycle on ZFS")
	}
	t.Parallel()
	d := vmtest.NewDisk(t, vmtest.ZFS)
	second := filepath.Join(t.TempDir(), "bpool.img")
	must(t, os.WriteFile(second, nil, 0o600))
	must(t, os.Truncate(second, 256<<20))
	if out, err := exec.Command("sgdisk", "-n1:0:0", "-t1:bf01", second).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v: %s", err, out)
	}
	unit := filepath.Join(t.TempDir(), "unit")
	must(t, os.WriteFile(unit, []byte(importBoot), 0o644))
	v := d.Start(vmtest.Options{Second: second, Payload: map[string]string{"/usr/local/sbin/beadm": program(t), "/etc/systemd/system/zfs-import-bpool.service": unit}})
	v.Install()
	v.Must(short, "mkdir -p /etc/beadm; printf 'confirm.hold = 5s\nconfirm.within = 150s\npanic = 5\n' >/etc/beadm/beadm.conf")
	v.Must(long, `umount /boot/beadm 2>/dev/null
zpool create -f -o ashift=12 -o cachefile=none -O canmount=off -O mountpoint=none bpool /dev/vdc1 &&
zfs create -o canmount=off -o mountpoint=none bpool/BOOT && zfs create -o mountpoint=/mnt/boot bpool/BOOT/debian &&
cp -a /boot/. /mnt/boot && rm -rf /boot/* && zfs set mountpoint=/boot bpool/BOOT/debian && ls /boot && mkdir -p /boot/beadm && mount /dev/vda2 /boot/beadm &&
systemctl enable zfs-import-bpool.service && echo 'bpool/BOOT/debian /boot zfs zfsutil,x-systemd.requires=zfs-import-bpool.service 0 0' >>/etc/fstab`)
	t.Log(v.Must(long, "beadm -v setup "+withGRUB+" && rm /usr/local/sbin/beadm; zfs get -Hr -o name,property,value,source canmount,org.beadm:of,org.beadm:boot bpool/BOOT rpool/ROOT/debian"))
	if out, _ := v.Run(long, "beadm check"); strings.Contains(out, "/boot is a file system of its own") {
		t.Errorf("/boot is said to be everybody's:\n%s", out)
	}
	boots := func(name, marker string) {
		t.Helper()
		out := v.Must(short, "findmnt -no SOURCE /; findmnt -no SOURCE /boot; cat /boot/marker 2>/dev/null || echo no marker; findmnt -no SOURCE /boot/beadm || mount /dev/vda2 /boot/beadm")
		if got := strings.Fields(out); len(got) < 2 || got[0] != "rpool/ROOT/"+name || got[1] != "bpool/BOOT/"+name || !strings.Contains(out, marker) {
			logs, _ := v.Run(short, "findmnt | grep boot; systemctl --failed --no-legend --plain; journalctl -b --no-pager -u beadm-boot-pool -u boot.mount -u zfs-import-bpool | tail -30; beadm status; zfs list -r bpool")
			t.Fatalf("%s is to run with its own /boot (%s):\n%s\n%s", name, marker, out, logs)
		}
	}
	boots("debian", "no marker")

	v.Must(long, "beadm upgrade new -- sh -c 'echo of-new >/boot/marker'")
	boots("debian", "no marker")
	t.Log(v.Must(long, "beadm list -a; beadm activate --leave-behind new"))
	mark := v.Mark()
	v.Send("systemctl reboot")
	reboots(t, d, v, mark)
	boots("new", "of-new")
	if failed := v.Must(short, "systemctl --failed --no-legend --plain"); strings.TrimSpace(failed) != "" {
		t.Errorf("units failed:\n%s", failed)
	}
	contains(t, "the trial", waitIdle(t, v, long), "default:  new")

	v.Must(long, "beadm rollback")
	mark = v.Mark()
	v.Send("systemctl reboot")
	reboots(t, d, v, mark)
	boots("debian", "no marker")
	v.Must(long, "beadm rename new old && zfs list bpool/BOOT/old && beadm destroy -F old")
	if left := v.Must(short, "zfs list -Hr -t all -o name bpool/BOOT"); strings.Contains(left, "old") || strings.Contains(left, "new") {
		t.Errorf("its /boot is left:\n%s", left)
	}
}
