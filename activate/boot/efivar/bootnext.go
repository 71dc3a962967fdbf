package efivar

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// global is EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3).
const global = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

// Variables of the firmware's boot manager (UEFI 2.10, 3.3).
var (
	BootNext    = Var{"BootNext", global}    // a number: that option first, once; deleted before it is started
	BootCurrent = Var{"BootCurrent", global} // a number: the option this system was started by
	BootOrder   = Var{"BootOrder", global}   // numbers: the options in the order they are tried
)

// BootOption is the variable Boot#### with that number.
func BootOption(number uint16) Var { return Var{fmt.Sprintf("Boot%04X", number), global} }

// BootOptionNumber returns the number of a variable Boot####.
func BootOptionNumber(v Var) (number uint16, ok bool) {
	digits, ok := strings.CutPrefix(v.Name, "Boot")
	if !ok || len(digits) != 4 || !strings.EqualFold(v.Vendor, global) {
		return 0, false
	}
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			number = number<<4 | uint16(c-'0')
		case c >= 'A' && c <= 'F':
			number = number<<4 | uint16(c-'A'+10)
		default:
			return 0, false
		}
	}
	return number, true
}

// EncodeNumbers returns the data of BootNext, which holds one number, or of
// BootOrder.
func EncodeNumbers(numbers ...uint16) []byte {
	b := []byte{}
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	return b
}

// DecodeNumbers reads what EncodeNumbers makes.
func DecodeNumbers(b []byte) ([]uint16, error) {
	if len(b)%2 != 0 {
		return nil, fmt.Errorf("%d bytes are no list of boot options", len(b))
	}
	var numbers []uint16
	for ; len(b) > 0; b = b[2:] {
		numbers = append(numbers, binary.LittleEndian.Uint16(b))
	}
	return numbers, nil
}

// DecodeNumber reads BootNext or BootCurrent.
func DecodeNumber(b []byte) (uint16, error) {
	if len(b) != 2 {
		return 0, fmt.Errorf("%d bytes are no number of a boot option", len(b))
	}
	return binary.LittleEndian.Uint16(b), nil
}
