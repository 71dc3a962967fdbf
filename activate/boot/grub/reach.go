package grub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/be"
)

// The lines that Hook puts at the head of another's configuration.
const (
	hookBegin = "### BEGIN beadm ###\n"
	hookEnd   = "### END beadm ###\n"
)

// hookText hands over to our grub.cfg. If that cannot be read, GRUB goes on
// with what follows, which is what it did before.
func hookText(m medium) string {
	modules := ""
	for _, name := range m.modules {
		modules += "insmod " + name + "\n"
	}
	return hookBegin + fmt.Sprintf(`# Boot environments are chosen there. Written by "beadm setup".
%sif %s; then
	configfile ($beadm_dev)/beadm/grub.cfg
fi
`, modules, hookSearch(m.uuid)) + hookEnd
}

func hookSearch(uuid string) string {
	return "search --no-floppy --fs-uuid --set=beadm_dev " + uuid
}

// maxHooked is more than any stub has that a distribution puts beside GRUB on
// the ESP. A generated grub.cfg is longer, and would be generated again.
const maxHooked = 2048

// stubs are the small files that GRUB on UEFI reads first: three lines that
// lead to the grub.cfg in a root. Signed images of Debian, Ubuntu and Fedora
// have EFI/<distribution> built in as where to look.
func stubs(dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "[Ee][Ff][Ii]", "*", "grub.cfg"))
	if err != nil {
		return nil
	}
	var out []string
	for _, f := range files {
		b, err := durable.Read(f, maxHooked)
		if err == nil && strings.Contains(string(b), "configfile") && !strings.EqualFold(filepath.Base(filepath.Dir(f)), trialDir) {
			out = append(out, f)
		}
	}
	return out
}

// hook puts hookText before what is in every stub. Such a file is what the
// machine starts with, so it is replaced like an entry: old or new, whole.
func (l *Loader) hook(m medium) error {
	files := stubs(l.cfg.Dir)
	if esp, err := l.findESP(); err == nil && esp != l.cfg.Dir {
		files = append(files, stubs(esp)...)
	}
	for _, file := range inherited(l.cfg.Dir) {
		if b, err := durable.Read(file, maxInherited); err == nil && strings.HasPrefix(string(b), hookBegin) {
			if err := l.inherit(file, m); err != nil {
				return err
			}
		}
	}
	for _, file := range files {
		b, err := durable.Read(file, maxHooked)
		if err != nil {
			return be.E(be.NoStore, "cannot read %s: %w", file, err)
		}
		text := string(b)
		if l.cfg.Self != "" && filepath.Dir(filepath.Dir(filepath.Dir(file))) != filepath.Clean(l.cfg.Dir) {
			// It is not on our partition: another of several may be called there
			// already, and is to be called first still.
			if text, err = hookBehind(text, m); err != nil {
				return be.E(be.NoStore, "cannot put the call of our configuration into %s: %w", file, err)
			}
			if text == string(b) {
				continue
			}
			if err := l.cfg.Disk.Replace(file, []byte(text)); err != nil {
				return be.E(be.NoStore, "cannot put the call of our configuration into %s: %w", file, err)
			}
			continue
		}
		if err := l.cfg.Disk.Replace(file, []byte(hookText(m)+unhooked(text))); err != nil {
			return be.E(be.NoStore, "cannot put the call of our configuration into %s: %w", file, err)
		}
	}
	return nil
}

// unhooked is a text without the first call of ours in it.
func unhooked(text string) string {
	if before, rest, ok := strings.Cut(text, hookBegin); ok {
		if _, after, ok := strings.Cut(rest, hookEnd); ok {
			return before + after
		}
	}
	return text
}

// hookBehind puts hookText behind the calls that are in a stub: what the first
// does not find, the next looks for.
func hookBehind(text string, m medium) (string, error) {
	if strings.Contains(text, hookText(m)) {
		return text, nil
	}
	at := 0
	if i := strings.LastIndex(text, hookEnd); i >= 0 {
		at = i + len(hookEnd)
	}
	if text = text[:at] + hookText(m) + text[at:]; len(text) > maxHooked {
		return "", errors.New("there are too many calls of ours in it: take those of partitions that are gone out")
	}
	return text, nil
}

// hooked says whether a stub on the partition dir calls our configuration: see
// callsOurs.
func hooked(dir, uuid string) bool {
	for _, file := range stubs(dir) {
		if b, err := durable.Read(file, maxHooked); err == nil && callsOurs(string(b), uuid) {
			return true
		}
	}
	return false
}

// Vouched is a Config.Reached for a GRUB that is known to come to our
// grub.cfg, whatever can be seen of that.
func Vouched(ctx context.Context, dir string) error { return nil }

// ReachedAs is DefaultReached for one of several partitions: that the running
// kernel was started by an entry of ours counts for the one it names, and a call
// in a stub for the one whose file system has that UUID.
func ReachedAs(self, uuid string) func(ctx context.Context, dir string) error {
	return func(ctx context.Context, dir string) error {
		cmdline, _ := os.ReadFile("/proc/cmdline")
		switch from := boot.LoadedFrom(cmdline); {
		case from == self:
			return nil
		case from == "":
			if id, _ := boot.Cmdline(cmdline); id != "" {
				return nil
			}
		}
		return reachedByFiles(dir, uuid)
	}
}

// DefaultReached believes that GRUB comes to our grub.cfg if a stub on the
// partition says so, or if the running kernel was started by an entry of ours.
func DefaultReached(ctx context.Context, dir string) error {
	if b, err := os.ReadFile("/proc/cmdline"); err == nil {
		if id, _ := boot.Cmdline(b); id != "" {
			return nil
		}
	}
	return reachedByFiles(dir, "")
}

func reachedByFiles(dir, uuid string) error {
	if hooked(dir, uuid) || isInherited(dir, uuid) {
		return nil
	}
	// Where GRUB on BIOS has its prefix on this partition.
	if b, err := durable.Read(filepath.Join(dir, "grub", "grub.cfg"), maxHooked); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "configfile" && strings.HasSuffix(f[1], "/beadm/grub.cfg") {
				return nil
			}
		}
	}
	return be.E(be.NoStore, "GRUB does not come to %s yet: have the grub.cfg that it reads first (on UEFI EFI/<distribution>/grub.cfg, on BIOS one on this partition, after grub-install --boot-directory=%s) begin with \"configfile\" of that file, and restart once", filepath.Join(dir, "beadm", "grub.cfg"), dir)
}
