package sdboot

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"

	"beadm/activate/boot"
	"beadm/activate/boot/bls"
	"beadm/be"
)

const (
	// maxTitle is how many characters of a title the menu shows.
	maxTitle = 100

	// maxOptions is what fits into the kernel's command line (2048 bytes on
	// x86, COMMAND_LINE_SIZE) beside the initrd= that systemd-boot adds. What
	// is longer the kernel cuts off, and the arguments of a trial stand last.
	maxOptions = 1900
)

// The menu is sorted by these: what was meant for one boot only stands behind
// everything else.
const (
	sortNormal = "beadm"
	sortTrial  = "zz-beadm-trial"
)

// entryText is an entry for systemd-boot.
func entryText(e boot.Entry, f files, trial bool) ([]byte, error) {
	args := append(append(append([]string(nil), e.Root.Args...), e.Args...), boot.ArgBE+"="+e.ID)
	out := bls.Entry{Title: title(e), SortKey: sortNormal, Linux: f.loaderPath(f.kernel), Initrd: []string{f.loaderPath(f.initrd)}}
	if trial {
		out.Title += " (trial)"
		out.SortKey = sortTrial
		args = append(append(boot.KeptInTrial(args), boot.ArgTrial+"=1", boot.ArgKeepLoader), e.TrialArgs...)
	}
	for _, arg := range args {
		if err := checkArg(arg); err != nil {
			return nil, err
		}
	}
	out.Options = strings.Join(args, " ")
	if n := len(out.Options); n > maxOptions {
		return nil, be.E(be.Unbootable, "the kernel arguments of %s are too long: %d characters, and only %d fit", e.ID, n, maxOptions)
	}
	b, err := out.Encode()
	if err != nil {
		return nil, be.E(be.Unbootable, "systemd-boot cannot be given the entry of %s: %w", e.ID, err)
	}
	return seal(append([]byte("# Written by beadm: what is changed here is lost, and refused before that.\n"), b...)), nil
}

// checkArg accepts one word that reaches the kernel unchanged. Nothing is
// quoted on the way: the loader passes the line on as it is.
func checkArg(arg string) error {
	for i := 0; i < len(arg); i++ {
		if c := arg[i]; c <= ' ' || c >= 0x7f {
			return be.E(be.Unbootable, "systemd-boot cannot be given the kernel argument %q: character %q is not allowed there", arg, string(rune(c)))
		}
	}
	if arg == "" || arg[0] == '-' {
		return be.E(be.Unbootable, "systemd-boot cannot be given the kernel argument %q", arg)
	}
	return nil
}

// title makes any bytes one line that the menu shows.
func title(e boot.Entry) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(e.Title, "?") {
		if n == maxTitle {
			break
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) { // also direction marks and line separators
			r = '?'
		}
		b.WriteRune(r)
		n++
	}
	t := strings.TrimSpace(b.String())
	if rest, ok := strings.CutPrefix(t, `"`); ok {
		t = "'" + rest // in quotes at both ends it would lose them
	}
	if t == "" {
		return e.ID
	}
	return t
}

const sealMark = "# sha256 "

// seal ends a text with a line that says what it must be.
func seal(text []byte) []byte {
	sum := sha256.Sum256(text)
	return append(text, sealMark+hex.EncodeToString(sum[:])+"\n"...)
}

// sealed says whether b is whole and as seal made it.
func sealed(b []byte) bool {
	i := strings.LastIndex(string(b), sealMark)
	return i >= 0 && string(seal([]byte(string(b[:i])))) == string(b)
}
