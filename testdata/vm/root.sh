#!/bin/sh
# root.sh OUT makes OUT/root.tar, the guest's Debian, and beside it the kernel
# and two initramfs: initrd, made by initramfs-tools with zfs-initramfs, and
# helper.cpio, which turns the former into one that fills a disk. It needs
# OUT/modules.tar (modules.sh).
set -eu
out=$1
here=$(cd "$(dirname "$0")" && pwd)
. "$here/mirror.sh"
root=$out/guest.root
ver=$(cat "$out/release")
rm -rf "$root"

# zfs-dkms is not installed: its modules are there already, and a compiler
# would triple the image. zfsutils-linux only recommends it.
bootstrap "$root" "linux-image-$ver kmod zfsutils-linux zfs-initramfs initramfs-tools lvm2 thin-provisioning-tools btrfs-progs \
grub-pc grub-pc-bin grub2-common grub-common grub-efi-amd64-bin systemd-boot openssh-server cron systemd-sysv dbus udev \
attr acl passwd procps iproute2 iputils-ping dosfstools mtools apt-utils adduser login e2fsprogs psmisc" \
	--essential-hook='echo grub-pc grub-pc/install_devices_empty boolean true | chroot "$1" debconf-set-selections; echo grub-pc grub-pc/install_devices multiselect | chroot "$1" debconf-set-selections'

# /lib is a link there.
tar -C "$root" --keep-directory-symlink -xf "$out/modules.tar"
chroot "$root" depmod "$ver"

# What the tests install, from Debian and from here; no network is needed.
repo=$root/usr/share/beadm-test-repo
mkdir -p "$repo"
sources >"$root/etc/apt/sources.list"
chroot "$root" apt-get update -qq
grubver=$(chroot "$root" dpkg-query -W -f '${Version}' grub-pc)
(cd "$repo" && chroot "$root" sh -ec "cd /usr/share/beadm-test-repo && apt-get download -qq nullmailer grub-pc=$grubver grub-pc-bin=$grubver \
 base-files cron \
 && apt-get -y -qq --no-install-recommends install --download-only nullmailer >/dev/null \
 && apt-get -y -qq --no-install-recommends install --download-only postfix apparmor systemd-container >/dev/null && cp /var/cache/apt/archives/*.deb . 2>/dev/null || :")
rm -f "$root"/var/cache/apt/archives/*.deb
pkg=$out/demo-pkg
rm -rf "$pkg"
mkdir -p "$pkg/DEBIAN" "$pkg/etc" "$pkg/usr/bin" "$pkg/var/spool/beadm-demo"
cat >"$pkg/DEBIAN/control" <<C
Package: beadm-demo-pkg
Version: 1.0
Architecture: all
Maintainer: beadm <root@localhost>
Depends: adduser
Description: brings a user, a file in /etc and one under /var/spool
C
cat >"$pkg/DEBIAN/postinst" <<'C'
#!/bin/sh
set -e
adduser --system --quiet --group --no-create-home --home /nonexistent beadm-demo
chown beadm-demo: /var/spool/beadm-demo
# The boot loader's tools, called as packages call them.
update-grub
grub-install /dev/vda
echo changed-by-package >>/etc/motd
C
chmod 755 "$pkg/DEBIAN/postinst"
echo "setting = shipped" >"$pkg/etc/beadm-demo.conf"
echo /etc/beadm-demo.conf >"$pkg/DEBIAN/conffiles"
printf '#!/bin/sh\necho beadm-demo 1.0\n' >"$pkg/usr/bin/beadm-demo"
chmod 755 "$pkg/usr/bin/beadm-demo"
echo job >"$pkg/var/spool/beadm-demo/first-job"
dpkg-deb --root-owner-group -Zgzip -b "$pkg" "$repo/beadm-demo-pkg_1.0_all.deb" >/dev/null
(cd "$root" && chroot . sh -ec 'cd /usr/share/beadm-test-repo && apt-ftparchive packages . >Packages')
echo "deb [trusted=yes] file:/usr/share/beadm-test-repo ./" >"$root/etc/apt/sources.list"
rm -rf "$root"/var/lib/apt/lists/*
chroot "$root" apt-get update -qq

# One hostid everywhere: builder, root, every initramfs.
printf '\276\255\276\255' >"$root/etc/hostid"
echo guest >"$root/etc/hostname"
printf '127.0.0.1 localhost guest\n' >"$root/etc/hosts"
mkdir -p "$root/boot/beadm" "$root/etc/zfs"
cat >"$root/etc/fstab" <<C
UUID=BEAD-BEAD /boot/beadm vfat umask=0077,nofail 0 2
C
chroot "$root" passwd -d root >/dev/null
for u in alice bob dave; do chroot "$root" useradd -m -s /bin/bash -p "$(openssl passwd -6 "$u-old")" $u; done
rm -f "$root"/etc/ssh/ssh_host_*
chroot "$root" ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
mkdir -p "$root/var/log/journal"

# The second serial port is the tests' shell.
cat >"$root/etc/systemd/system/test-shell.service" <<C
[Unit]
Description=Shell of the tests on the second serial port
DefaultDependencies=no
After=sysinit.target
IgnoreOnIsolate=yes
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStart=/usr/local/sbin/test-shell
StandardInput=null
StandardOutput=null
StandardError=null
Restart=always
RestartSec=0
KillSignal=SIGKILL
[Install]
WantedBy=multi-user.target
C
cat >"$root/usr/local/sbin/test-shell" <<'C'
#!/bin/sh
stty -F /dev/ttyS1 raw -echo 2>/dev/null
cd /root
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb DEBIAN_FRONTEND=noninteractive
exec /bin/sh </dev/ttyS1 >/dev/ttyS1 2>&1
C
chmod 755 "$root/usr/local/sbin/test-shell"
chroot "$root" systemctl -q enable test-shell.service ssh.service cron.service
# What only costs seconds under emulation. Pool import is the initramfs' work.
chroot "$root" systemctl -q mask zfs-import-cache.service zfs-import-scan.service zfs-zed.service zfs-volume-wait.service \
	systemd-udev-settle.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
	fstrim.timer logrotate.timer man-db.timer lvm2-monitor.service blk-availability.service systemd-timesyncd.service \
	getty@tty1.service serial-getty@ttyS0.service systemd-networkd.service keyboard-setup.service console-setup.service \
	systemd-hwdb-update.service systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-boot-system-token.service grub-common.service \
	systemd-update-utmp-runlevel.service zfs-load-key.service modprobe@drm.service

# An initramfs by Debian's own tools, with what this machine needs.
cat >"$root/etc/initramfs-tools/initramfs.conf" <<C
MODULES=list
BUSYBOX=auto
KEYMAP=n
COMPRESS=gzip
FSTYPE=
RUNSIZE=10%
C
printf 'virtio_pci\nvirtio_blk\nvirtio_rng\nzfs\nbtrfs\nvfat\nnls_ascii\nnls_cp437\n' >"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -c -k "$ver" >/dev/null 2>&1
ln -sf "vmlinuz-$ver" "$root/boot/vmlinuz"
ln -sf "initrd.img-$ver" "$root/boot/initrd.img"
cp "$root/boot/vmlinuz-$ver" "$out/vmlinuz"
cp "$root/boot/initrd.img-$ver" "$out/initrd"
rm -rf "$root"/var/cache/apt/*.bin "$root"/usr/share/doc/*/changelog* "$root"/usr/share/locale/*
tar -C "$root" --numeric-owner --xattrs --acls -cf "$out/root.tar" .
rm -rf "$root" "$pkg"
