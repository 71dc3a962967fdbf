#!/bin/sh
# zfs.sh OUT makes OUT/zfs.img, a disk that boots the Debian of OUT/root.tar
# from ZFS. ZFS is written by a helper VM, as the same device that it will
# have when it boots.
set -eu
out=$1
img=$out/zfs.img.tmp
work=$out/disk.work
. "$(dirname "$0")/gpt.sh"
gpt "$img" "$work" <<'C'
search --no-floppy --set=zdev --label rpool
linux ($zdev)/ROOT/debian@/boot/vmlinuz root=ZFS=rpool/ROOT/debian rw console=ttyS0 panic=5 quiet loglevel=3 mitigations=off tsc=reliable audit=0
initrd ($zdev)/ROOT/debian@/boot/initrd.img
boot
C

# The helper: the guest's own initramfs with another /init behind it, which
# the kernel unpacks over it.
mkdir -p "$work/init"
cat >"$work/init/init" <<C
#!/bin/sh
export PATH=/sbin:/usr/sbin:/bin:/usr/bin
mkdir -p /proc /sys /dev /tmp; mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for m in virtio_pci virtio_blk; do modprobe \$m; done
modprobe zfs || { echo HELPER-FAILED modprobe; poweroff -f; }
sleep 1
set -e
trap 'echo HELPER-FAILED; poweroff -f' EXIT
mkdir -p /z /etc/zfs
printf '\276\255\276\255' >/etc/hostid
zpool create -f -o ashift=12 -o compatibility=grub2 -o cachefile=/etc/zfs/zpool.cache -O compression=lz4 -O acltype=posixacl \
 -O xattr=sa -O canmount=off -O mountpoint=none -R /z rpool /dev/vda3
zfs create -o canmount=off -o mountpoint=none rpool/ROOT
zfs create -o canmount=noauto -o mountpoint=/ -o org.example:keep=yes rpool/ROOT/debian
zfs create -o canmount=off rpool/ROOT/debian/var
zfs create -o canmount=noauto -o atime=off rpool/ROOT/debian/var/lib
zfs create -o canmount=noauto -o compression=gzip-1 -o org.example:keep=srv rpool/ROOT/debian/srv
zfs mount rpool/ROOT/debian
mkdir -p /z/var/lib /z/srv
zfs mount rpool/ROOT/debian/var/lib
zfs mount rpool/ROOT/debian/srv
tar -C /z -xf /dev/vdb
cp /etc/zfs/zpool.cache /z/etc/zfs/zpool.cache
zpool set bootfs=rpool/ROOT/debian rpool
sync; zpool sync rpool
zfs umount rpool/ROOT/debian/srv; zfs umount rpool/ROOT/debian/var/lib; zfs umount rpool/ROOT/debian
zpool sync rpool
trap - EXIT
echo HELPER-DONE
poweroff -f
C
chmod 755 "$work/init/init"
tar -C "$work/init" -xf "$out/root.tar" ./usr/share/zfs/compatibility.d/grub2
(cd "$work/init" && find . | cpio -o -H newc --quiet | gzip) >"$work/helper.gz"
cat "$out/initrd" "$work/helper.gz" >"$work/helper.initrd"
timeout 900 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -machine q35 -nodefaults -no-reboot -nographic -serial stdio \
	-kernel "$out/vmlinuz" -initrd "$work/helper.initrd" -append "console=ttyS0 quiet loglevel=4 panic=5 mitigations=off tsc=reliable" \
	-drive "file=$img,if=virtio,format=raw,cache=unsafe" -drive "file=$out/root.tar,if=virtio,format=raw,readonly=on" \
	</dev/null >"$work/console" 2>&1 || :
grep -q HELPER-DONE "$work/console" || { echo "cannot fill the disk; the helper VM said:" >&2; tail -40 "$work/console" >&2; exit 1; }
rm -rf "$work"
mv "$img" "$out/zfs.img"
