package grub

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"beadm/activate/boot"
	"beadm/be"
)

// maxTitle is how many characters of a title the menu shows.
const maxTitle = 100

// origin is where GRUB reads the kernel and the initrd from, in words of its
// script.
type origin struct {
	find           string // a command that fails if the file system is not there
	kernel, initrd string
	module         string // that reads the file system; empty if GRUB has it already
}

// fromRoot has them read from the boot environment itself.
func fromRoot(e boot.Entry) (origin, error) {
	search, err := searchFor(e.Root)
	if err != nil {
		return origin{}, err
	}
	for _, path := range []string{e.Kernel, e.Initrd} {
		if !strings.HasPrefix(path, "/") {
			return origin{}, be.E(be.Unbootable, "the kernel or initrd of %s has no absolute path but %q", e.ID, path)
		}
	}
	kernel, err := word("kernel", e.Root.Prefix+e.Kernel)
	if err != nil {
		return origin{}, err
	}
	initrd, err := word("initrd", e.Root.Prefix+e.Initrd)
	if err != nil {
		return origin{}, err
	}
	return origin{find: search, kernel: `"($beadm_root)"` + kernel, initrd: `"($beadm_root)"` + initrd, module: modules[e.Root.FS]}, nil
}

// fromPartition has them read from beside the grub.cfg that runs: of several
// disks that carry a copy, from the same one.
func fromPartition(kernel, initrd string) origin {
	word := func(name string) string { return `"$beadm_dir"'/kernels/` + name + `'` }
	return origin{find: `[ -n "$beadm_dir" ]`, kernel: word(kernel), initrd: word(initrd)}
}

// entryText is the menu fragment of one boot environment.
//
// A trial that GRUB cannot start resets: its token is gone, so the default
// boots. So whoever starts another entry while the token is just gone, and
// the trial's entry was in the menu, was chosen by a person, and is told whose
// it was. Anything else that cannot be started returns, and GRUB goes on with
// the numbers of $fallback. Being one compound statement, a fragment that is
// damaged does nothing at all.
func entryText(e boot.Entry, from origin) ([]byte, error) {
	if err := boot.CheckID(e.ID); err != nil {
		return nil, err
	}
	own := append(append(append([]string(nil), e.Root.Args...), e.Args...), boot.ArgBE+"="+e.ID)
	args, err := argWords(own)
	if err != nil {
		return nil, err
	}
	trial, err := argWords(append(append(boot.KeptInTrial(own), boot.ArgTrial+"=1"), e.TrialArgs...))
	if err != nil {
		return nil, err
	}
	module := ""
	if from.module != "" {
		module = "\tinsmod " + from.module + "\n"
	}
	return seal(fmt.Sprintf(`# beadm: menu entry, version %d
if menuentry %s --id '%s' --class gnu-linux --class os --unrestricted {
%s	if [ "$beadm_id" = '%s' ]; then
		if %s; then
			if linux %s%s $beadm_loader; then
				if initrd %s; then
					boot
				fi
			fi
		fi
		echo 'The trial of %s cannot be started: restarting into the default.'
		reboot
	else
		set beadm_passed=
		if [ -n "$beadm_shown" ]; then
			set beadm_passed="%s=$beadm_shown"
		fi
		if %s; then
			if linux %s%s $beadm_loader $beadm_passed; then
				if initrd %s; then
					boot
				fi
			fi
		fi
		echo '%s cannot be started.'
	fi
}
then
	set beadm_new=1
fi
`, version, title(e), e.ID, module, e.ID,
		from.find, from.kernel, trial, from.initrd, e.ID,
		boot.ArgPassed, from.find, from.kernel, args, from.initrd, e.ID)), nil
}

// argWords are kernel arguments, each behind a blank.
func argWords(args []string) (string, error) {
	text := ""
	for _, arg := range args {
		w, err := word("kernel argument", arg)
		if err != nil {
			return "", err
		}
		text += " " + w
	}
	return text, nil
}

// modules that GRUB needs to read a file system. One it has not is reported
// by GRUB and does no harm.
var modules = map[string]string{
	"zfs": "zfs", "btrfs": "btrfs", "xfs": "xfs", "vfat": "fat",
	"ext2": "ext2", "ext3": "ext2", "ext4": "ext2",
}

// searchFor is the command that sets $beadm_root to the device with the root.
func searchFor(root be.RootRef) (string, error) {
	how, what := "--fs-uuid", root.FSUUID
	if what == "" {
		how, what = "--label", root.Label
	}
	if what == "" {
		return "", be.E(be.Unbootable, "GRUB cannot find the root: the store gave neither a UUID nor a label of a file system that it reads")
	}
	w, err := word("UUID or label", what)
	if err != nil {
		return "", err
	}
	return "search --no-floppy " + how + " --set=beadm_root " + w, nil
}

// word quotes one word of a GRUB script that also reaches the kernel
// unchanged. GRUB puts backslashes before quotes and backslashes and quotes
// around blanks, so what has those is refused, like all that is not printable
// ASCII; and a word that begins with - would be an option.
func word(what, s string) (string, error) {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '\'' || c == '"' || c == '\\' {
			return "", be.E(be.Unbootable, "GRUB cannot be given the %s %q: character %q is not allowed there", what, s, string(rune(c)))
		}
	}
	if s == "" || s[0] == '-' {
		return "", be.E(be.Unbootable, "GRUB cannot be given the %s %q", what, s)
	}
	return "'" + s + "'", nil
}

// title quotes any bytes so that they are one word, no option, and one line.
// In single quotes nothing but the quote is special to GRUB
// (grub-core/script/yylex.l).
func title(e boot.Entry) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(e.Title, "?") {
		switch {
		case n == maxTitle:
			continue
		case r == utf8.RuneError, !unicode.IsPrint(r): // also direction marks and line separators
			r = '?'
		}
		b.WriteRune(r)
		n++
	}
	t := strings.TrimSpace(b.String())
	if t == "" {
		t = e.ID
	}
	if strings.HasPrefix(t, "-") {
		t = " " + t
	}
	return "'" + strings.ReplaceAll(t, "'", `'\''`) + "'"
}
