#!/bin/sh
# btrfs.sh OUT makes OUT/btrfs.img, a disk that boots the Debian of
# OUT/root.tar from the subvolume @debian, with one nested in it.
set -eu
out=$1
img=$out/btrfs.img.tmp
work=$out/disk.work
top=$work/top
. "$(dirname "$0")/gpt.sh"
gpt "$img" "$work" <<'C'
search --no-floppy --set=bdev --label debian
set btrfs_relative_path=n
linux ($bdev)/@debian/boot/vmlinuz root=LABEL=debian rootflags=subvol=@debian rw console=ttyS0 panic=5 quiet loglevel=3 mitigations=off tsc=reliable audit=0
initrd ($bdev)/@debian/boot/initrd.img
boot
C
start=66
size=$((3 * 1024 - start - 1))
truncate -s "${size}M" "$work/btrfs"
mkfs.btrfs -q -L debian "$work/btrfs"
mkdir "$top"
mount -o loop,compress=zstd:1 "$work/btrfs" "$top"
trap 'umount "$top" 2>/dev/null || :' EXIT
btrfs -q subvolume create "$top/@debian"
btrfs -q subvolume create "$top/@debian/srv"
tar -C "$top/@debian" --numeric-owner --xattrs --acls -xf "$out/root.tar"
# A container that was started meanwhile holds what is mounted: umount alone
# would leave the end of it in memory.
sync -f "$top"
umount "$top"
trap - EXIT
dd if="$work/btrfs" of="$img" bs=1M seek="$start" conv=notrunc,sparse status=none
rm -rf "$work"
mv "$img" "$out/btrfs.img"
