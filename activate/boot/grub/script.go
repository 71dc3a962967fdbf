package grub

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// version of the contract between grub.cfg and the entries. An entry is told
// in $beadm_id which boot environment's token was consumed, and says with
// $beadm_new that it put itself in the menu.
const version = 1

// configNow is the version of grub.cfg. 2 takes the firmware's token, too;
// what 1 does it does alike.
const configNow = 2

// configText is grub.cfg: the same for the whole life of an installation, so
// that nothing a power cut could spoil is ever written to it. What changes is
// beside it: env, default.cfg, and one file of entries/ for each boot
// environment. uuid is that of the file system they are on.
//
// $cmdpath, which GRUB sets and exports, is where GRUB itself was started from.
// Started by the boot option of a trial, which BootNext led to and which is in
// no order of booting, it takes the trial from beadm_next, and writes nothing:
// the firmware has consumed the token. Started otherwise it does not look at
// beadm_next. The name is compared in any case, as FAT does.
//
// What it relies on, tried on GRUB 2.06 by the tests of this package:
//   - $config_directory is where this very file was read from, so the token
//     consumed is the one beside it, whatever other disk carries a copy.
//   - load_env with names loads those and no others; of a file that is
//     missing, empty or no block it loads nothing.
//   - save_env fails where GRUB cannot write. That alone is not believed: the
//     token is read back.
//   - [ -f ] works on FAT and ext (it does not on ZFS, where none is used).
//   - Entries are chosen by number alone. GRUB would compare a default that
//     is no number with titles too, and a title is anything.
//   - fallback takes numbers, and one beyond the menu crashes GRUB. So each
//     entry is counted only once it is in the menu.
//   - With timeout_style=countdown only ESC brings the menu; noise on a serial
//     line does not stop the countdown. With that style 0 seconds are 3.
func configText(uuid string, timeout int) []byte {
	var numbers []string
	for i := range maxEntries + 1 {
		numbers = append(numbers, fmt.Sprint(i))
	}
	style := "countdown"
	if timeout <= 0 {
		style, timeout = "menu", 0
	}
	return seal(fmt.Sprintf(`# beadm: GRUB configuration, version %d. Written by "beadm setup" and never
# changed after: a changed byte makes beadm refuse to arm a trial.
insmod part_gpt
insmod part_msdos
insmod fat
insmod ext2
insmod test
insmod echo
insmod sleep
insmod reboot
insmod regexp
insmod loadenv
insmod search
set btrfs_relative_path=n

set beadm_dir="$config_directory"
if [ -z "$beadm_dir" ]; then
	search --no-floppy --fs-uuid --set=beadm_dev %s
	set beadm_dir="($beadm_dev)/beadm"
fi

# The default: what env says, if that has an entry; else what default.cfg says.
set beadm_baked=
source "$beadm_dir/default.cfg"
set beadm_default=
set beadm_trial=
set beadm_next=
load_env -f "$beadm_dir/env" beadm_default beadm_trial beadm_next
if [ -z "$beadm_default" -o ! -f "$beadm_dir/entries/$beadm_default.cfg" ]; then
	set beadm_default="$beadm_baked"
fi

# A trial: its token is taken away first and that is read back, or the firmware
# took it. No token gone, no trial.
set beadm_id=
if [ -n "$beadm_next" ]; then
	if regexp '/[Ee][Ff][Ii]/[Bb][Ee][Aa][Dd][Mm]-[Tt][Rr][Ii][Aa][Ll]$' "$cmdpath"; then
		if [ -f "$beadm_dir/entries/$beadm_next.cfg" ]; then
			set beadm_id="$beadm_next"
		fi
	fi
elif [ -n "$beadm_trial" ]; then
	set beadm_try="$beadm_trial"
	set beadm_tried="$beadm_trial"
	set beadm_trial=
	if save_env -f "$beadm_dir/env" beadm_trial beadm_tried; then
		set beadm_trial=unread
		set beadm_tried=unread
		load_env -f "$beadm_dir/env" beadm_trial beadm_tried
		if [ -z "$beadm_trial" -a "$beadm_tried" = "$beadm_try" -a -f "$beadm_dir/entries/$beadm_try.cfg" ]; then
			set beadm_id="$beadm_try"
		fi
	fi
fi

# The menu: the trial, the default, all others; what is first is booted. The
# arguments are the numbers of the entries to come.
set beadm_one="$beadm_dir/entries/$beadm_id.cfg"
set beadm_two="$beadm_dir/entries/$beadm_default.cfg"
if [ "$beadm_one" = "$beadm_two" ]; then
	set beadm_two=
fi
set fallback=
set beadm_shown=
function beadm_menu {
	for beadm_file in "$beadm_one" "$beadm_two" others $beadm_dir/entries/b*.cfg; do
		set beadm_new=
		if [ "$beadm_file" = others ]; then
			set beadm_skip1="$beadm_one"
			set beadm_skip2="$beadm_two"
		elif [ "$beadm_file" = "$beadm_skip1" -o "$beadm_file" = "$beadm_skip2" ]; then
			set beadm_new=
		elif [ -n "$beadm_file" -a -f "$beadm_file" -a -n "$2" ]; then
			source "$beadm_file"
		fi
		if [ -n "$beadm_new" ]; then
			if [ "$beadm_file" = "$beadm_one" ]; then
				set beadm_shown="$beadm_id"
			fi
			if [ -n "$beadm_have" ]; then
				set fallback="$fallback$1 "
			fi
			set beadm_have=1
			shift
		fi
	done
	if [ -n "$beadm_have" ]; then
		set fallback="$fallback$1"
	fi
	menuentry 'Restart' --id beadm_restart --unrestricted {
		echo 'Restarting in 30 seconds.'
		sleep --interruptible 30
		reboot
	}
}
beadm_menu %s

set default=0
set timeout_style=%s
set timeout=%d
`, configNow, uuid, strings.Join(numbers, " "), style, timeout))
}

// maxEntries is how many boot environments the menu holds; more are left out
// of it, the trial and the default never.
const maxEntries = 64

// seal ends a text with a line that says what it must be.
func seal(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return []byte(text + sealMark + hex.EncodeToString(sum[:]) + "\n")
}

const sealMark = "# sha256 "

// sealed says whether b is whole and as seal made it.
func sealed(b []byte) bool {
	i := strings.LastIndex(string(b), sealMark)
	return i >= 0 && string(seal(string(b[:i]))) == string(b)
}

// bakedText is default.cfg: one sector, rewritten in place.
func bakedText(id string) []byte {
	b := fmt.Appendf(nil, "set beadm_baked=%s\n", id)
	for len(b) < 511 {
		b = append(b, '#')
	}
	return append(b, '\n')
}

// parseBaked returns the id of a whole default.cfg, or nothing.
func parseBaked(b []byte) string {
	rest, ok := strings.CutPrefix(string(b), "set beadm_baked=")
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, "\n")
	if string(bakedText(id)) != string(b) {
		return ""
	}
	return id
}
