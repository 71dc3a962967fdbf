package boot

import "strings"

// The arguments a loader adds to every kernel it starts for us.
const (
	ArgBE    = "beadm.be"    // =ID: the entry that was started
	ArgTrial = "beadm.trial" // =1: its token was consumed for this boot
	// ArgPassed is =ID of the boot environment whose token was consumed for
	// this boot, and another was chosen from the menu.
	ArgPassed = "beadm.passed"
	// ArgLoader is what the partition is called whose loader started the kernel,
	// where there are several.
	ArgLoader = "beadm.loader"
)

// LoadedFrom is the value of ArgLoader on a command line, or empty.
func LoadedFrom(b []byte) string {
	name := ""
	for _, word := range words(string(b)) {
		if word == "--" {
			break
		}
		if value, ok := strings.CutPrefix(word, ArgLoader+"="); ok {
			name = value
		}
	}
	return name
}

// Passed is the ID in ArgPassed of a command line, or empty. It is a claim,
// too.
func Passed(b []byte) string {
	id := ""
	for _, word := range words(string(b)) {
		if word == "--" {
			break
		}
		if value, ok := strings.CutPrefix(word, ArgPassed+"="); ok {
			id = value
		}
	}
	if !ValidID(id) {
		return ""
	}
	return id
}

// ArgKeepLoader keeps systemd from replacing systemd-boot on the ESP by the
// trial's version of it (systemd-debug-generator(8), systemd.mask=): what has
// to come back starts from there.
const ArgKeepLoader = "systemd.mask=systemd-boot-update.service"

// Cmdline reads from a kernel's command line (/proc/cmdline) which entry the
// loader started and whether as a trial. id is empty if no loader of ours
// did, or it is not valid. As in the kernel the last of several counts, and
// nothing after a bare "--" (init's own arguments) does. What it says is a
// claim: compare it with the root that is mounted before you act on it.
func Cmdline(b []byte) (id string, trial bool) {
	flag := ""
	for _, word := range words(string(b)) {
		if word == "--" {
			break
		}
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case ArgBE:
			id = value
		case ArgTrial:
			flag = value
		}
	}
	if !ValidID(id) {
		return "", false
	}
	return id, flag == "1"
}

// words splits a command line as the kernel's next_arg (lib/cmdline.c) does:
// at blanks outside of double quotes, quotes taken off around a value or the
// whole.
func words(s string) []string {
	var out []string
	for {
		s = strings.TrimLeft(s, " \t\n\r\v\f\x00")
		if s == "" {
			return out
		}
		quoted := false
		i := 0
		for ; i < len(s); i++ {
			if strings.IndexByte(" \t\n\r\v\f\x00", s[i]) >= 0 && !quoted {
				break
			}
			if s[i] == '"' {
				quoted = !quoted
			}
		}
		word := s[:i]
		s = s[i:]
		if w, ok := strings.CutPrefix(word, `"`); ok {
			word = strings.TrimSuffix(w, `"`)
		} else if name, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(value, `"`) {
			word = name + "=" + strings.TrimSuffix(value[1:], `"`)
		}
		out = append(out, word)
	}
}
