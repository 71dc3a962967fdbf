// Package efivar reads and writes UEFI variables as the files of Linux'
// efivarfs (kernel, Documentation/filesystems/efivarfs.rst): the name and the
// vendor's GUID joined by a dash, and as content four bytes of attributes, in
// little endian, before the data.
package efivar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// Var names a variable.
type Var struct {
	Name   string
	Vendor string // GUID
}

// loader is the vendor of the Boot Loader Interface's variables
// (systemd.io/BOOT_LOADER_INTERFACE).
const loader = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// The variables of the Boot Loader Interface that we use. All are strings but
// LoaderFeatures, which is 64 bits in little endian.
var (
	OneShot   = Var{"LoaderEntryOneShot", loader}   // the entry to start once; the loader deletes it
	Default   = Var{"LoaderEntryDefault", loader}   // the entry to start, before what loader.conf says
	Preferred = Var{"LoaderEntryPreferred", loader} // before that, from systemd 260 on
	Selected  = Var{"LoaderEntrySelected", loader}  // the entry that was started
	Info      = Var{"LoaderInfo", loader}           // the loader's name and version
	PartUUID  = Var{"LoaderDevicePartUUID", loader} // the partition that the loader was started from
	Features  = Var{"LoaderFeatures", loader}       // what the loader can do
)

// FeatureOneShot is the bit of LoaderFeatures that promises OneShot.
const FeatureOneShot = 1 << 3

// Attributes of a variable that is kept without power and seen by loader and
// system: NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS (UEFI 2.10, 8.2).
const Attributes = 1 | 2 | 4

// FileName is the name of the variable's file in efivarfs.
func (v Var) FileName() string { return v.Name + "-" + v.Vendor }

// EncodeFile returns a file's content.
func EncodeFile(attributes uint32, data []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, attributes), data...)
}

// DecodeFile takes a file's content apart. A file shorter than its attributes
// is an error: it is what a write that failed leaves until it is removed.
func DecodeFile(b []byte) (attributes uint32, data []byte, err error) {
	if len(b) < 4 {
		return 0, nil, fmt.Errorf("a variable's file has at least 4 bytes, this has %d", len(b))
	}
	return binary.LittleEndian.Uint32(b), b[4:], nil
}

// EncodeString returns s in UTF-16, little endian, with a zero at its end. A
// string with a zero in it, or that is not UTF-8, is refused.
func EncodeString(s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("%q is not UTF-8", s)
	}
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		if u == 0 {
			return nil, fmt.Errorf("%q has a zero in it", s)
		}
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return append(b, 0, 0), nil
}

// DecodeString reads up to the first zero, or the end, as loaders do.
func DecodeString(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", errors.New("an odd number of bytes is not UTF-16")
	}
	var units []uint16
	for ; len(b) > 0; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	var s []byte
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i+1 == len(units) {
				return "", errors.New("half a character at the end of UTF-16")
			}
			i++
			if r = utf16.DecodeRune(r, rune(units[i])); r == utf8.RuneError {
				return "", errors.New("half a character in UTF-16")
			}
		}
		s = utf8.AppendRune(s, r)
	}
	return string(s), nil
}
