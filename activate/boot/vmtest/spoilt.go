//go:build linux

package vmtest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// What a kernel does that loads a module of Module.
var (
	Oops = []byte{0x0f, 0x0b}       // ud2
	Spin = []byte{0xeb, 0xfe}       // jmp to itself: the processor no longer schedules
	Hang = []byte{0xfa, 0xeb, 0xfe} // the same, deaf to interrupts
)

// Module is a module for the kernel of the root at dir whose first
// instructions are code: one of its own, little and of no use here, patched.
func Module(t testing.TB, dir string, code []byte) []byte {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(dir, "usr/lib/modules/*/kernel/fs/nls/nls_koi8-r.ko"))
	if len(found) != 1 {
		t.Fatalf("wanted one nls_koi8-r.ko in %s: %q", dir, found)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	// A module with a wrong signature is refused, one without any is not.
	if at := bytes.Index(data, []byte("~Module signature appended~\n")); at > 12 {
		data = data[:at-12-int(binary.BigEndian.Uint32(data[at-4:]))]
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != "init_module" {
			continue
		}
		section := f.Sections[s.Section]
		start := s.Value
		at := section.Offset + start
		// Behind the call that ftrace looks at, and at bytes that the kernel
		// does not relocate.
		if data[at] != 0xe8 {
			t.Fatalf("init_module of %s begins with % x", found[0], data[at:at+16])
		}
		start, at = start+5, at+5
		for _, r := range f.Sections {
			if r.Type != elf.SHT_RELA || r.Info != uint32(s.Section) {
				continue
			}
			relocations, err := r.Data()
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i+24 <= len(relocations); i += 24 {
				if off := binary.LittleEndian.Uint64(relocations[i:]); off+4 > start && off < start+uint64(len(code)) {
					t.Fatalf("init_module of %s is relocated at %#x", found[0], off)
				}
			}
		}
		copy(data[at:], code)
		return data
	}
	t.Fatalf("%s has no init_module", found[0])
	return nil
}
