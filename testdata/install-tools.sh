#!/bin/sh
# install-tools.sh native|vm|demo|go installs, from Debian's packages, what the
# tests or the demonstration need and this machine does not have.
set -eu
native="apparmor patch rsync efibootmgr btrfs-progs e2fsprogs xfsprogs dosfstools mtools grub-common attr acl passwd kmod util-linux ca-certificates mandoc bash busybox-static bzip2 zstd xz-utils lz4"
guests="lxc"
demo="btrfs-progs mmdebstrap systemd-container util-linux procps openssl"
vm="qemu-system-x86 qemu-utils mmdebstrap mtools dosfstools gdisk ovmf systemd-boot-efi grub-pc-bin grub-efi-amd64-bin btrfs-progs grub-common grub2-common cpio busybox-static zstd xz-utils kmod"
case ${1-} in
native) want="$native $guests $demo" ;;
vm) want="$native $vm" ;;
demo) want=$demo ;;
go) want="ca-certificates curl unzip openssl" ;;
*) echo "usage: install-tools.sh native|vm|demo|go" >&2; exit 2 ;;
esac
missing=
for p in $want; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ]; then
	echo "these packages are missing:$missing: run this as root, or install them" >&2
	exit 1
fi
echo "installing:$missing"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
