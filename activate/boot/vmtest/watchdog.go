//go:build linux

package vmtest

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
)

// watchdogTable writes an ACPI table WDAT (Microsoft, Hardware Watchdog Timers
// Design Specification 1.01) that tells the system how to use the watchdog
// timer (TCO) of the machine's ICH9: Debian's kernel for clouds has the driver
// for such a table, as servers have it, and none for QEMU's other watchdogs.
func watchdogTable(t testing.TB, file string) {
	t.Helper()
	const (
		tco = 0x660      // SeaBIOS: ACPI registers at 0x600
		gcs = 0xfed1f410 // chip configuration: NO_REBOOT is its bit 5

		read, write, count, keep = 0, 2, 3, 0x80
		memory, port             = 0, 1
	)
	type entry struct {
		Action, Instruction byte
		_                   uint16
		Space, Width, Shift byte
		Access              byte
		Address             uint64
		Value, Mask         uint32
	}
	entries := []entry{
		{Action: 0x01, Instruction: write, Space: port, Width: 16, Access: 2, Address: tco, Value: 1, Mask: 0xffff},
		{Action: 0x06, Instruction: count, Space: port, Width: 16, Access: 2, Address: tco + 0x12, Mask: 0x3ff},
		{Action: 0x08, Instruction: read, Space: port, Width: 16, Access: 2, Address: tco + 8, Value: 0, Mask: 0x800},
		{Action: 0x09, Instruction: write | keep, Space: port, Width: 16, Access: 2, Address: tco + 8, Value: 0, Mask: 0x800},
		{Action: 0x0a, Instruction: read, Space: port, Width: 16, Access: 2, Address: tco + 8, Value: 0x800, Mask: 0x800},
		{Action: 0x0b, Instruction: write | keep, Space: port, Width: 16, Access: 2, Address: tco + 8, Value: 0x800, Mask: 0x800},
		{Action: 0x11, Instruction: write | keep, Space: memory, Width: 32, Access: 3, Address: gcs, Value: 0, Mask: 0x20},
	}
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	b.WriteString("WDAT")
	put(uint32(36 + 32 + 24*len(entries)))
	b.Write([]byte{1, 0})
	b.WriteString("BEADM BEADMWDT")
	put(uint32(1))
	b.WriteString("BEAD")
	put(uint32(1))
	put(uint32(32))
	put(uint16(0xff)) // on no PCI bus
	b.Write([]byte{0xff, 0xff, 0xff, 0, 0, 0})
	put(uint32(1200)) // it resets at the second end of its count, of 0.6 s
	put(uint32(0x3ff))
	put(uint32(4))
	b.Write([]byte{1, 0, 0, 0})
	put(uint32(len(entries)))
	put(entries)
	table := b.Bytes()
	sum := byte(0)
	for _, c := range table {
		sum += c
	}
	table[9] = -sum
	if err := os.WriteFile(file, table, 0o600); err != nil {
		t.Fatal(err)
	}
}
