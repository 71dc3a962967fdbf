package grub

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"beadm/activate/boot/durable"
	"beadm/activate/boot/efivar"
	"beadm/be"
)

// trialDir, below EFI on the ESP, is what grub.cfg knows a trial by.
const trialDir = "beadm-trial"

// maxImage bounds an image; GRUB's are of 1 to 5 MiB.
const maxImage = 32 << 20

// removable are the names of the image that firmware starts where no boot
// option names one (UEFI 2.10, 3.5.1.1), by GOARCH.
var removable = map[string]string{
	"amd64": "BOOTX64.EFI", "386": "BOOTIA32.EFI", "arm64": "BOOTAA64.EFI", "arm": "BOOTARM.EFI",
	"riscv64": "BOOTRISCV64.EFI", "loong64": "BOOTLOONGARCH64.EFI",
}

// image is the loader that starts this machine.
type image struct {
	esp   string
	dir   string           // of its files
	files []string         // the one that the firmware starts, then those it loads
	drive efivar.HardDrive // where the firmware finds it
}

// findESP returns where the ESP is mounted.
func (l *Loader) findESP() (string, error) {
	places := []string{l.cfg.ESP}
	switch {
	case l.cfg.ESP != "":
	case l.cfg.AnyMedium: // a test has no business on this machine's
		places = []string{l.cfg.Dir}
	default:
		places = []string{l.cfg.Dir, "/efi", "/boot/efi", "/boot"}
	}
	for _, dir := range places {
		if info, err := os.Stat(filepath.Join(dir, "EFI")); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", be.E(be.NoStore, "the ESP is mounted at none of %s: mount it, so that the loader of a trial can be put there", strings.Join(places, ", "))
}

// findImage looks for GRUB where the firmware has started it from, or would.
func (l *Loader) findImage() (image, error) {
	esp, err := l.findESP()
	if err != nil {
		return image{}, err
	}
	drives, err := l.cfg.Drives(esp)
	if err != nil {
		return image{}, be.E(be.Unbootable, "cannot tell where the firmware finds %s: %w", esp, err)
	}
	numbers, err := l.order()
	if err != nil {
		numbers = nil // none, or not readable: there are other places
	}
	if n, ok, err := l.number(efivar.BootCurrent); err != nil {
		return image{}, err
	} else if ok {
		numbers = append([]uint16{n}, numbers...)
	}
	for _, n := range numbers {
		o, ok := l.option(n)
		if !ok || isOurs(o) {
			continue
		}
		drive, ok := o.HardDrive()
		if i := slices.IndexFunc(drives, func(d efivar.HardDrive) bool { return strings.EqualFold(d.GUID, drive.GUID) }); ok && i >= 0 {
			if img, ok := grubImage(esp, strings.Split(o.File(), `\`), drives[i]); ok {
				return img, nil
			}
		}
	}
	if img, ok := grubImage(esp, []string{"EFI", "BOOT", removable[runtime.GOARCH]}, drives[0]); ok {
		return img, nil
	}
	return image{}, be.E(be.Unbootable, "no boot option of the firmware leads to a GRUB on %s, so that there is nothing to start a trial with: see efibootmgr(8), grub-install(8)", esp)
}

// grubImage looks whether the file is GRUB, or a shim with GRUB beside it,
// which it loads from there.
func grubImage(esp string, path []string, drive efivar.HardDrive) (image, bool) {
	path = slices.DeleteFunc(path, func(s string) bool { return s == "" })
	if len(path) < 2 || slices.Contains(path, "..") || slices.Contains(path, ".") {
		return image{}, false
	}
	dir := filepath.Join(esp, filepath.Join(path[:len(path)-1]...))
	img := image{esp: esp, dir: dir, files: path[len(path)-1:], drive: drive}
	b, err := durable.Read(filepath.Join(dir, img.files[0]), maxImage)
	if err != nil {
		return image{}, false
	}
	found := isGRUB(b)
	list, err := os.ReadDir(dir)
	if err != nil {
		return image{}, false
	}
	for _, e := range list {
		name := strings.ToLower(e.Name())
		if !e.Type().IsRegular() || !strings.HasSuffix(name, ".efi") || strings.EqualFold(name, img.files[0]) {
			continue
		}
		switch {
		case strings.HasPrefix(name, "grub"):
			if b, err := durable.Read(filepath.Join(dir, e.Name()), maxImage); err != nil || !isGRUB(b) {
				continue
			}
			found = true
		case strings.HasPrefix(name, "revocations"), strings.HasPrefix(name, "shim_certificate"): // shim reads them
		default:
			continue
		}
		img.files = append(img.files, e.Name())
	}
	return img, found
}

// isGRUB looks for names of GRUB's own functions, by which its modules find
// them (GRUB, gensymlist.sh).
func isGRUB(b []byte) bool { return bytes.Contains(b, []byte("\x00grub_env_set\x00")) }

// copyImage has GRUB's files in trialDir as they are where the firmware starts
// them from, and returns the boot option that leads there. Newer modules and
// an older image do not fit together, so what was copied once is compared.
func (l *Loader) copyImage(m medium) (efivar.LoadOption, error) {
	none := efivar.LoadOption{}
	img, err := l.findImage()
	if err != nil {
		return none, err
	}
	to := filepath.Join(img.esp, "EFI", trialDir)
	if _, err := os.Stat(to); err != nil {
		if err := l.cfg.Disk.Mkdir(to); err != nil {
			return none, be.E(be.Unbootable, "cannot put the loader of a trial on the ESP: %w", err)
		}
	}
	// For a GRUB that looks for its configuration beside its image. exit hands over to what is next
	// in the firmware's order.
	texts := map[string][]byte{"grub.cfg": []byte(hookText(m) + "exit\n")}
	for _, name := range img.files {
		if texts[name], err = durable.Read(filepath.Join(img.dir, name), maxImage); err != nil {
			return none, be.E(be.Unbootable, "cannot read the loader of this system: %w", err)
		}
	}
	for _, name := range append([]string{"grub.cfg"}, img.files...) {
		path := filepath.Join(to, name)
		if have, err := durable.Read(path, maxImage); err == nil && bytes.Equal(have, texts[name]) {
			continue
		}
		if err := l.cfg.Disk.Replace(path, texts[name]); err != nil {
			return none, be.E(be.Unbootable, "cannot put the loader of a trial on the ESP: %w", err)
		}
	}
	if err := l.cfg.Disk.Sync(to); err != nil {
		return none, be.E(be.Unbootable, "cannot put the loader of a trial on the ESP: %w", err)
	}
	drive, err := img.drive.Node()
	if err != nil {
		return none, be.E(be.Unbootable, "cannot make the boot option of a trial: %w", err)
	}
	file, err := efivar.FileNode(`\EFI\` + trialDir + `\` + img.files[0])
	if err != nil {
		return none, be.E(be.Unbootable, "cannot make the boot option of a trial: %w", err)
	}
	return efivar.LoadOption{
		Attributes:  efivar.OptionActive | efivar.OptionHidden | efivar.OptionApp,
		Description: description,
		Path:        []efivar.Node{drive, file},
	}, nil
}

// dropImage takes what copyImage made away, unless a trial is armed by it.
func (l *Loader) dropImage() error {
	esp, err := l.findESP()
	if err != nil {
		return nil
	}
	dir := filepath.Join(esp, "EFI", trialDir)
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	e, err := l.env()
	if err != nil {
		return nil
	}
	if next, used := e.Get(varNext); !used || next != "" {
		return nil
	}
	for _, e := range list {
		if err := l.cfg.Disk.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return l.cfg.Disk.Remove(dir)
}
