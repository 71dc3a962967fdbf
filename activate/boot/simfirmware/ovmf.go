package simfirmware

import (
	"bytes"
	"encoding/binary"
	"errors"

	"beadm/activate/boot/efivar"
)

// Store is OVMF's file of variables (EDK II,
// MdeModulePkg/Include/Guid/VariableFormat.h, AUTHENTICATED_VARIABLE_HEADER),
// while no machine runs on it.
type Store []byte

const (
	storeHeader    = 28
	variableHeader = 60
	added          = 0x3f
)

// each calls f for each variable, until it says that is it, and returns where
// the next one can be put.
func (s Store) each(f func(at int, name, vendor, data []byte) bool) (int, error) {
	authenticated, err := efivar.EncodeGUID("aaf32c78-947b-439a-a180-2e144ec37792")
	if err != nil {
		return 0, err
	}
	at := bytes.Index(s, authenticated[:])
	if at < 0 {
		return 0, errors.New("OVMF's file of variables has no store of them")
	}
	at += storeHeader
	for binary.LittleEndian.Uint16(s[at:]) == 0x55aa {
		names, datas := int(binary.LittleEndian.Uint32(s[at+36:])), int(binary.LittleEndian.Uint32(s[at+40:]))
		name := s[at+variableHeader:][:names]
		if f != nil && f(at, name, s[at+44:at+60], s[at+variableHeader+names:][:datas]) {
			return at, nil
		}
		at = (at + variableHeader + names + datas + 3) &^ 3
	}
	return at, nil
}

// Add adds a variable that is not there.
func (s Store) Add(v efivar.Var, data []byte) error {
	name, err := efivar.EncodeString(v.Name)
	if err != nil {
		return err
	}
	vendor, err := efivar.EncodeGUID(v.Vendor)
	if err != nil {
		return err
	}
	head := make([]byte, variableHeader)
	binary.LittleEndian.PutUint16(head, 0x55aa)
	head[2] = added
	binary.LittleEndian.PutUint32(head[4:], efivar.Attributes)
	binary.LittleEndian.PutUint32(head[36:], uint32(len(name)))
	binary.LittleEndian.PutUint32(head[40:], uint32(len(data)))
	copy(head[44:], vendor[:])
	at, err := s.each(nil)
	if err == nil {
		copy(s[at:], append(append(head, name...), data...))
	}
	return err
}

// Get is what the firmware has under that name, nil if nothing.
func (s Store) Get(v efivar.Var) ([]byte, error) {
	want, err := efivar.EncodeString(v.Name)
	if err != nil {
		return nil, err
	}
	guid, err := efivar.EncodeGUID(v.Vendor)
	if err != nil {
		return nil, err
	}
	var found []byte
	_, err = s.each(func(at int, name, vendor, data []byte) bool {
		if s[at+2] == added && bytes.Equal(name, want) && bytes.Equal(vendor, guid[:]) {
			found = append([]byte{}, data...)
		}
		return found != nil
	})
	return found, err
}
