package grub

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/be"
)

var _ boot.Heir = (*Loader)(nil)

// maxInherited bounds what grub-mkconfig(8) makes of many kernels.
const maxInherited = 1 << 20

// inherited are the configurations that grub-mkconfig made on a partition while
// that was /boot: Debian's, and where GRUB is called grub2. Nobody makes them
// again: what is in the /boot of a boot environment is made instead.
func inherited(dir string) (files []string) {
	for _, name := range []string{"grub", "grub2"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || !info.IsDir() {
			continue
		}
		file := filepath.Join(dir, name, "grub.cfg")
		if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() {
			files = append(files, file)
		}
	}
	return files
}

// MayInherit implements boot.Heir.
func (l *Loader) MayInherit(ctx context.Context, def boot.Entry) error {
	if err := l.acceptable(def); err != nil {
		return err
	}
	if _, _, err := l.token(); err != nil {
		return err
	}
	if len(inherited(l.cfg.Dir)) == 0 {
		return be.E(be.NoStore, "there is neither grub/grub.cfg nor grub2/grub.cfg on it: it is not from there that GRUB starts this machine")
	}
	return l.Fits(ctx, def)
}

// Inherit implements boot.Heir.
func (l *Loader) Inherit(ctx context.Context) error {
	m, err := l.medium()
	if err != nil {
		return err
	}
	for _, file := range inherited(l.cfg.Dir) {
		if err := l.inherit(file, m); err != nil {
			return err
		}
	}
	return nil
}

// inherit puts our call before what is in file, which stays as it is and is
// what GRUB does if our configuration cannot be read.
func (l *Loader) inherit(file string, m medium) error {
	b, err := durable.Read(file, maxInherited)
	if err != nil {
		return be.E(be.NoStore, "cannot read %s: %w", file, err)
	}
	if err := l.cfg.Disk.Replace(file, []byte(hookText(m)+unhooked(string(b)))); err != nil {
		return be.E(be.NoStore, "cannot put the call of our configuration into %s: %w", file, err)
	}
	return nil
}

// isInherited says whether GRUB comes to ours by what was inherited on dir.
func isInherited(dir, uuid string) bool {
	for _, file := range inherited(dir) {
		if b, err := durable.Read(file, maxInherited); err == nil && callsOurs(string(b), uuid) {
			return true
		}
	}
	return false
}

// callsOurs says whether a text begins with calls of ours, and one is of what is
// on the file system of that UUID (FAT's in either case), or with none any.
func callsOurs(text, uuid string) bool {
	if !strings.HasPrefix(text, hookBegin) {
		return false
	}
	// Of ours only: what follows is another's, whatever it names.
	ours := text[:strings.LastIndex(text, hookEnd)+1]
	return uuid == "" || strings.Contains(strings.ToLower(ours), strings.ToLower(hookSearch(uuid)+";"))
}
