package bls

import (
	"strings"
)

// Entry is one entry of type #1. Fields that are empty have no line.
type Entry struct {
	Title   string
	Version string
	SortKey string
	Linux   string // absolute path on the partition of the entry
	Initrd  []string
	Options string // the kernel's command line
}

// Encode fails if a field would not be read back as it is: no field can add a
// line or change another.
func (e Entry) Encode() ([]byte, error) {
	var b strings.Builder
	line := func(key, value string) error {
		if err := checkValue(key, value); err != nil {
			return err
		}
		b.WriteString(key + " " + value + "\n")
		return nil
	}
	for _, f := range []struct{ key, value string }{
		{"title", e.Title}, {"version", e.Version}, {"sort-key", e.SortKey}, {"linux", e.Linux},
	} {
		if f.value == "" {
			continue
		}
		if err := line(f.key, f.value); err != nil {
			return nil, err
		}
	}
	for _, path := range e.Initrd {
		if err := line("initrd", path); err != nil {
			return nil, err
		}
	}
	if e.Options != "" {
		if err := line("options", e.Options); err != nil {
			return nil, err
		}
	}
	return []byte(b.String()), nil
}

// ParseEntry reads as the loader does: the last of several lines counts, but
// for initrd, which is a list, and options, which are put together. Keys that
// are not in Entry are passed over.
func ParseEntry(b []byte) Entry {
	var e Entry
	for _, line := range splitLines(string(b)) {
		switch key, value := keyValue(line); key {
		case "title":
			e.Title = value
		case "version":
			e.Version = value
		case "sort-key":
			e.SortKey = value
		case "linux":
			e.Linux = value
		case "initrd":
			e.Initrd = append(e.Initrd, value)
		case "options":
			if e.Options != "" {
				value = e.Options + " " + value
			}
			e.Options = value
		}
	}
	return e
}
