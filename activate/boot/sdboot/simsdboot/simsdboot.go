// Package simsdboot plays systemd-boot and its firmware for tests: what the
// files and variables that activate/boot/sdboot writes make them do. It is a
// model, of systemd 252's src/boot/efi/boot.c; the table in activate/boot/sdboot
// is run against it and against the real one.
package simsdboot

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"beadm/activate/boot/bls"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/simfirmware"
)

// PartUUID is that of the ESP.
const PartUUID = "beadbead-0000-4000-8000-000000000001"

// Machine is a machine whose systemd-boot reads Dir, the ESP.
type Machine struct {
	Dir  string
	Vars simfirmware.Vars
	// Partition is the ESP's GUID; empty: PartUUID.
	Partition string
}

// Boot is one image started.
type Boot struct {
	Entry   string // the entry's id; empty: none could be started
	Options string
}

type entry struct {
	id string
	bls.Entry
}

// Up leaves the variables that systemd-boot leaves for the system, without
// starting anything.
func (m Machine) Up() error {
	partition := m.Partition
	if partition == "" {
		partition = PartUUID
	}
	return errors.Join(m.Vars.SetText(efivar.Info, "systemd-boot 252.39"), m.Vars.SetText(efivar.PartUUID, partition))
}

// PowerOn returns what runs in the end. An entry that fails to start gives the
// machine back to the firmware, which starts systemd-boot once more, from its
// other path, EFI/BOOT.
func (m Machine) PowerOn() (Boot, error) {
	for range 2 {
		b, err := m.once()
		if err != nil || b.Entry != "" {
			return b, err
		}
	}
	return Boot{}, nil
}

func (m Machine) once() (Boot, error) {
	if err := m.Up(); err != nil {
		return Boot{}, err
	}
	oneShot := strings.ToLower(m.Vars.Text(efivar.OneShot))
	if !m.Vars.Sticky {
		if err := efivar.Dir(m.Vars.Dir).Delete(efivar.OneShot); err != nil {
			return Boot{}, err
		}
	}
	list, err := m.entries()
	if err != nil {
		return Boot{}, err
	}
	if len(list) == 0 {
		return Boot{}, nil
	}
	conf, _ := os.ReadFile(filepath.Join(m.Dir, "loader", "loader.conf"))
	def, _ := bls.ParseConf(conf).Get("default")
	e := list[0]
	for _, pattern := range []string{oneShot, strings.ToLower(m.Vars.Text(efivar.Default)), strings.ToLower(def)} {
		if found := find(list, pattern); found != nil {
			e = *found
			break
		}
	}
	if err := m.Vars.SetText(efivar.Selected, e.id); err != nil {
		return Boot{}, err
	}
	if b, err := os.ReadFile(m.file(e.Linux)); err != nil || !strings.HasPrefix(string(b), "MZ") {
		return Boot{}, nil
	}
	for _, initrd := range e.Initrd {
		if _, err := os.Stat(m.file(initrd)); err != nil {
			return Boot{}, nil
		}
	}
	return Boot{e.id, e.Options}, nil
}

func find(list []entry, pattern string) *entry {
	for i := range list {
		if ok, err := path.Match(pattern, list[i].id); err == nil && ok && pattern != "" {
			return &list[i]
		}
	}
	return nil
}

func (m Machine) file(loaderPath string) string {
	return filepath.Join(m.Dir, filepath.FromSlash(loaderPath))
}

// entries lists those whose image is there, sorted as the menu is.
func (m Machine) entries() ([]entry, error) {
	dir := filepath.Join(m.Dir, "loader", "entries")
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []entry
	for _, f := range files {
		id := strings.ToLower(f.Name())
		if !strings.HasSuffix(id, ".conf") || strings.HasPrefix(id, ".") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		e := entry{id, bls.ParseEntry(b)}
		if info, err := os.Stat(m.file(e.Linux)); e.Linux != "" && err == nil && info.Mode().IsRegular() {
			list = append(list, e)
		}
	}
	sort.Slice(list, func(i, k int) bool {
		a, b := list[i], list[k]
		switch {
		case (a.SortKey == "") != (b.SortKey == ""):
			return a.SortKey != ""
		case a.SortKey != b.SortKey:
			return a.SortKey < b.SortKey
		}
		return a.id > b.id
	})
	return list, nil
}
