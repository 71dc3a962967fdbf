# gpt.sh is sourced: a disk with GRUB on it, for BIOS and for UEFI: GPT with
# 1 MiB bios_grub, 64 MiB FAT (BEAD-BEAD), which is the ESP too, and the rest.
export PATH="$PATH:/usr/sbin:/sbin"

# gpt IMAGE WORK reads from standard input what GRUB does before beadm setup.
gpt() {
	img=$1 work=$2
	rm -rf "$work" "$img"
	mkdir -p "$work"
	{
		echo 'configfile ($root)/beadm/grub.cfg'
		cat
	} >"$work/grub.cfg"
	truncate -s 3G "$img"
	sgdisk -a 2048 -n1:2048:+1M -t1:ef02 -n2:0:+64M -t2:ef00 -n3:0:0 -t3:8300 "$img" >/dev/null

	# GRUB, without grub-install, which wants to see the disk.
	cat >"$work/core.cfg" <<C
search --no-floppy --set=root --fs-uuid BEAD-BEAD
set prefix=(\$root)/grub
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
configfile (\$root)/grub/grub.cfg
C
	modules="part_gpt part_msdos fat ext2 zfs btrfs normal linux configfile search search_fs_uuid search_label loadenv \
		test echo reboot halt serial terminal sleep ls cat regexp true lvm probe date minicmd"
	grub-mkimage -O i386-pc -o "$work/core.img" -c "$work/core.cfg" -p '(hd0,gpt2)/grub' biosdisk $modules
	grub-mkimage -O x86_64-efi -o "$work/bootx64.efi" -c "$work/core.cfg" -p /grub $modules

	truncate -s 64M "$work/fat"
	mkfs.vfat -F 16 -i BEADBEAD -n BEADM "$work/fat" >/dev/null
	mmd -i "$work/fat" ::/grub ::/EFI ::/EFI/BOOT
	mcopy -i "$work/fat" "$work/grub.cfg" ::/grub/grub.cfg
	mcopy -i "$work/fat" "$work/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
	dd if="$work/fat" of="$img" bs=1M seek=2 conv=notrunc,sparse status=none

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
}
