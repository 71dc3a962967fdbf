//go:build linux && vm

package activate_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// menuFiles are the files that the loader reads, with their sums, and where
// systemd-boot is, its variables.
func menuFiles(v *vmtest.VM) []string {
	return strings.Split(v.Must(short, "cd /boot/beadm; find . -type f ! -path './beadm/kernels/*' -exec sha256sum {} + | sort -k 2; [ ! -d /sys/firmware/efi ] || sha256sum /sys/firmware/efi/efivars/Loader*"), "\n")
}

// changedFiles are those that are not the same, or in one listing only.
func changedFiles(before, after []string) []string {
	var names []string
	for _, pair := range [][2][]string{{before, after}, {after, before}} {
		for _, line := range pair[0] {
			if _, name, _ := strings.Cut(line, "  "); !slices.Contains(pair[1], line) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// aKernel is the image's kernel under another release's name: uname(1) says the
// old one, but loader, initramfs-tools and beadm go by what the file says.
func aKernel(t *testing.T, d *vmtest.Disk, release string) string {
	t.Helper()
	data, err := os.ReadFile(d.Kernel())
	must(t, err)
	copy(data[int(binary.LittleEndian.Uint16(data[0x20e:]))+0x200:], release+" \x00")
	file := filepath.Join(t.TempDir(), "vmlinuz")
	must(t, os.WriteFile(file, data, 0o644))
	return file
}

// The administrator's own tools go on working in the running boot environment:
// update-grub, update-initramfs, kernels that are installed and removed. Its
// own entry follows, and nothing else of what the loader reads changes. A trial
// that is armed meanwhile is still one, and comes back to the new kernel.
func TestVMKernelPackages(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the cycles have a kernel replaced in place")
	}
	for _, on := range []struct {
		name  string
		disk  func(t *testing.T) *vmtest.Disk
		setup string
		// full: there is room for a second kernel where the loader reads it
		full bool
	}{
		{"GRUB on btrfs", func(t *testing.T) *vmtest.Disk { return vmtest.NewDisk(t, vmtest.Btrfs) }, withGRUB, true},
		{"GRUB on ZFS", func(t *testing.T) *vmtest.Disk { return vmtest.NewDisk(t, vmtest.ZFS) }, withGRUB, true},
		{"systemd-boot on btrfs", sdbootDisk, asItStarted, false},
	} {
		t.Run(on.name, func(t *testing.T) {
			t.Parallel()
			kernelPackages(t, on.disk(t), on.setup, on.full)
		})
	}
}

const newRelease = "9.9-test"

func kernelPackages(t *testing.T, d *vmtest.Disk, setup string, full bool) {
	v := d.Start(vmtest.Options{Payload: map[string]string{"/usr/local/sbin/beadm": program(t), "/root/vmlinuz": aKernel(t, d, newRelease)}})
	v.Install()
	v.Must(short, "mkdir -p /etc/beadm; printf 'confirm.hold = 5s\nconfirm.within = 600s\npanic = 5\n' >/etc/beadm/beadm.conf")
	v.Must(long, "findmnt /boot/beadm || mount /boot/beadm; beadm setup "+setup+" && rm /usr/local/sbin/beadm")
	v.Must(long, "beadm create other")
	if full {
		v.Must(long, "beadm activate --leave-behind other && beadm activate -T")
	}
	// The entry of the running one, whichever the loader.
	own := v.Must(short, `cd /boot/beadm; grep -lE "subvol=@debian|root=ZFS=rpool/ROOT/debian" -r . | grep -E '/entries/beadm-|beadm/entries/|beadm/trials/'`)
	unchanged := func(what string, before []string) {
		t.Helper()
		for _, name := range changedFiles(before, menuFiles(v)) {
			if !strings.Contains(own, name) {
				t.Errorf("%s changed %s; the entry of what runs is %s", what, name, own)
			}
		}
	}
	// An initramfs is made in a minute, and in ten where others work too.
	slowly := func(command string) string {
		t.Helper()
		began := time.Now()
		out := v.Must(4*long, command)
		t.Logf("%.0f s: %s", time.Since(began).Seconds(), command)
		return out
	}
	restart := func(command, runs, says string) {
		t.Helper()
		mark := v.Mark()
		v.Send(command)
		reboots(t, d, v, mark)
		v.Must(short, "findmnt /boot/beadm >/dev/null || mount /boot/beadm")
		contains(t, "the system that runs", v.Must(short, "beadm status; dmesg | grep 'initramfs made' || echo no mark"), "running:  "+runs, says)
	}
	// What an initramfs says, and how this kernel, whose uname(1) is the old
	// one's, finds the modules in it.
	v.Must(short, `printf '%s\n' '#!/bin/sh' '[ "$1" = prereqs ] && exit 0' '. /usr/share/initramfs-tools/hook-functions' \
	'[ "$version" = "$(uname -r)" ] || ln -s "$version" "$DESTDIR/lib/modules/$(uname -r)"' >/etc/initramfs-tools/hooks/zz-test
cat >/root/mark <<'S'
mkdir -p /etc/initramfs-tools/scripts/init-top
printf '%s\n' '#!/bin/sh' '[ "$1" = prereqs ] && exit 0' "echo initramfs made $1 >/dev/kmsg" >/etc/initramfs-tools/scripts/init-top/mark
chmod 755 /etc/initramfs-tools/scripts/init-top/mark /etc/initramfs-tools/hooks/zz-test
S
mkdir -p /boot/grub`)

	before := menuFiles(v)
	if full {
		out := slowly("update-grub && cat /boot/grub/grub.cfg")
		contains(t, "update-grub", out, "Found linux image: /boot/vmlinuz-", "menuentry 'Debian")
		if changed := changedFiles(before, menuFiles(v)); changed != nil {
			t.Errorf("update-grub changed %q", changed)
		}
	}
	if !full {
		slowly("sh /root/mark by-hand && update-initramfs -u")
		unchanged("update-initramfs", before)
		restart("systemctl reboot", "debian", "initramfs made by-hand")
		return
	}

	v.Must(long, "beadm activate --leave-behind --no-auto-confirm other")
	contains(t, "status", v.Must(short, "beadm status"), "state:    armed", "next:     other (one trial)")
	before = menuFiles(v)
	contains(t, "the kernel's own configuration", slowly("sh /root/mark by-dpkg && dpkg-reconfigure linux-image-$(uname -r)"), "update-initramfs: Generating /boot/initrd.img-", "Generating grub configuration file")
	unchanged("dpkg-reconfigure of the kernel", before)

	// A package as Debian's kernels are, whose scripts run what is in
	// /etc/kernel (linux-image's postinst and postrm).
	v.Must(long, `p=/root/pkg n=`+newRelease+`; mkdir -p $p/DEBIAN $p/boot $p/lib/modules
cp /root/vmlinuz $p/boot/vmlinuz-$n; cp /boot/config-$(uname -r) $p/boot/config-$n; cp -a /lib/modules/$(uname -r) $p/lib/modules/$n
printf 'Package: linux-image-%s\nVersion: 1\nArchitecture: amd64\nMaintainer: beadm <root@localhost>\nDescription: a kernel\n' $n >$p/DEBIAN/control
for s in postinst:install postrm:remove; do f=$p/DEBIAN/${s%:*}; printf '%s\n' '#!/bin/sh -e' 'export DEB_MAINT_PARAMS="$*"' '[ "$1" = configure ] || [ "$1" = remove ] || exit 0' \
 "linux-update-symlinks ${s#*:} $n /boot/vmlinuz-$n" "run-parts --report --exit-on-error --arg=$n --arg=/boot/vmlinuz-$n /etc/kernel/${s%:*}.d" >$f; chmod 755 $f; done
dpkg-deb --root-owner-group -Znone -b $p /root/kernel.deb >/dev/null; rm -r $p`)
	contains(t, "the installation of a kernel", slowly("sh /root/mark for-"+newRelease+" && dpkg -i /root/kernel.deb"), "Found linux image: /boot/vmlinuz-"+newRelease)
	unchanged("the installation of a kernel", before)
	contains(t, "the entry of debian", v.Must(short, "cat "+entryFile(own)), "vmlinuz-"+newRelease, "initrd.img-"+newRelease)
	contains(t, "status", v.Must(short, "beadm status"), "state:    armed", "next:     other (one trial)")

	restart("systemctl reboot", "other", "no mark")
	contains(t, "the kernel of the trial", v.Must(short, "cat /proc/cmdline; beadm status"), "vmlinuz-6.", "state:    trying")
	restart("reboot -f", "debian", "initramfs made for-"+newRelease)
	contains(t, "the kernel's command line", v.Must(short, "cat /proc/cmdline"), "vmlinuz-"+newRelease)
	contains(t, "status", v.Must(short, "beadm status"), "FAILED", "reset before it was confirmed")

	before = menuFiles(v)
	slowly("dpkg -r linux-image-" + newRelease)
	unchanged("the removal of a kernel", before)
	contains(t, "what is left of it", v.Must(short, "ls /boot; cat "+entryFile(own)), "vmlinuz-6.")
	if out := v.Must(short, "ls /boot; cat /boot/grub/grub.cfg "+entryFile(own)); strings.Contains(out, newRelease) {
		t.Errorf("a kernel that was removed is still named:\n%s", out)
	}
	restart("systemctl reboot", "debian", "initramfs made by-dpkg")
}

// entryFile is the menu entry among a boot environment's own files, as it is
// found in the guest.
func entryFile(own string) string {
	name, _, _ := strings.Cut(own, "\n")
	return filepath.Join("/boot/beadm", name)
}
