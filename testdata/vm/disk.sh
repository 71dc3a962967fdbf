#!/bin/sh
# disk.sh OUT makes OUT/zfs.img, a disk that boots the Debian of OUT/root.tar
# from ZFS: GPT with 1 MiB bios_grub, 64 MiB FAT (BEAD-BEAD), the rest rpool.
# ZFS is written by a helper VM, as the same device that it will have when it
# boots.
set -eu
out=$1
img=$out/zfs.img.tmp
ver=$(cat "$out/release")
work=$out/disk.work
rm -rf "$work" "$img"
mkdir -p "$work"
export PATH="$PATH:/usr/sbin:/sbin"

truncate -s 3G "$img"
sgdisk -a 2048 -n1:2048:+1M -t1:ef02 -n2:0:+64M -t2:8300 -n3:0:0 -t3:bf01 "$img" >/dev/null

# FAT: what GRUB reads first. Before beadm setup it starts the one root.
truncate -s 64M "$work/fat"
mkfs.vfat -F 16 -i BEADBEAD -n BEADM "$work/fat" >/dev/null
cat >"$work/grub.cfg" <<C
configfile (\$root)/beadm/grub.cfg
search --no-floppy --set=zdev --label rpool
linux (\$zdev)/ROOT/debian@/boot/vmlinuz root=ZFS=rpool/ROOT/debian rw console=ttyS0 panic=5 quiet loglevel=3 mitigations=off tsc=reliable audit=0
initrd (\$zdev)/ROOT/debian@/boot/initrd.img
boot
C
mmd -i "$work/fat" ::/grub
mcopy -i "$work/fat" "$work/grub.cfg" ::/grub/grub.cfg
dd if="$work/fat" of="$img" bs=1M seek=2 conv=notrunc,sparse status=none

# GRUB, without grub-install, which wants to see the disk: RIG of the field.
cat >"$work/core.cfg" <<C
search --no-floppy --set=root --fs-uuid BEAD-BEAD
set prefix=(\$root)/grub
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
configfile (\$root)/grub/grub.cfg
C
grub-mkimage -O i386-pc -o "$work/core.img" -c "$work/core.cfg" -p '(hd0,gpt2)/grub' biosdisk part_gpt part_msdos fat ext2 zfs btrfs \
	normal linux configfile search search_fs_uuid search_label loadenv test echo reboot halt serial terminal sleep ls cat regexp true lvm probe date minicmd
python3 - "$img" /usr/lib/grub/i386-pc/boot.img "$work/core.img" <<'P'
import struct, sys
img, boot, core = sys.argv[1:]
boot = bytearray(open(boot, 'rb').read()[:512])
core = bytearray(open(core, 'rb').read())
first = 2048
with open(img, 'r+b') as f:
    mbr = f.read(512)
    boot[0x1b8:0x200] = mbr[0x1b8:0x200]
    struct.pack_into('<Q', boot, 0x5c, first)
    boot[0x64] = 0xff
    struct.pack_into('<Q', core, 0x1f4, first + 1)
    assert len(core) <= 1 << 20
    f.seek(0); f.write(boot)
    f.seek(first * 512); f.write(core)
P

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
