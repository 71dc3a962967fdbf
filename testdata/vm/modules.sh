#!/bin/sh
# modules.sh OUT builds OpenZFS's kernel modules for Debian's cloud kernel and
# leaves them in OUT/modules.tar, with the kernel's release in OUT/release.
# They are built in a root of their own, so that the guest's root never holds a
# compiler and its package database is what a plain installation would have.
set -eu
out=$1
. "$(dirname "$0")/mirror.sh"
build=$out/modules.root
rm -rf "$build"

bootstrap "$build" "dpkg-dev gcc make linux-headers-cloud-amd64 dkms kmod zfs-dkms"

ver=$(ls "$build/usr/src" | sed -n 's/^linux-headers-\(.*-cloud-amd64\)$/\1/p' | sort -V | tail -1)
zfs=$(ls "$build/usr/src" | sed -n 's/^zfs-//p' | sort -V | tail -1)
[ -n "$ver" ] && [ -n "$zfs" ] || { echo "cannot build zfs modules: no headers or no zfs source" >&2; exit 1; }

# dkms wants /proc for its parallelism and its locks.
mount -t proc proc "$build/proc"
trap 'umount "$build/proc" 2>/dev/null || :' EXIT
mkdir -p "$build/lib/modules/$ver"
if ! chroot "$build" dkms status -m zfs -v "$zfs" -k "$ver" | grep -q installed; then
	chroot "$build" dkms install --no-depmod -m zfs -v "$zfs" -k "$ver" || {
		tail -40 "$build/var/lib/dkms/zfs/$zfs/build/make.log" >&2 2>/dev/null || :
		exit 1
	}
fi
umount "$build/proc"
mods=$(find "$build/lib/modules/$ver" "$build/var/lib/dkms" -name zfs.ko -printf '%h\n' -quit)
[ -n "$mods" ] || { echo "cannot build zfs modules: dkms left no zfs.ko" >&2; exit 1; }
mkdir -p "$out/modules.tmp/lib/modules/$ver/extra"
cp "$mods"/*.ko "$out/modules.tmp/lib/modules/$ver/extra/"
strip --strip-debug "$out/modules.tmp/lib/modules/$ver/extra/"*.ko 2>/dev/null ||
	chroot "$build" true
tar -C "$out/modules.tmp" -cf "$out/modules.tar" .
echo "$ver" >"$out/release"
rm -rf "$out/modules.tmp" "$build"
