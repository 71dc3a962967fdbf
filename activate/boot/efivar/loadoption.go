package efivar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Attributes of a load option (UEFI 2.10, 3.1.3).
const (
	OptionActive = 0x00000001 // tried when it is its turn in BootOrder
	OptionHidden = 0x00000008 // not in the firmware's menu
	OptionApp    = 0x00000100 // category: never part of the normal order of booting
)

// LoadOption is the data of a Boot#### variable, an EFI_LOAD_OPTION (UEFI
// 2.10, 3.1.3).
type LoadOption struct {
	Attributes  uint32
	Description string
	Path        []Node // the device path that is loaded, without its end
	Rest        []byte // further device paths, as they are; others' have them
	Data        []byte // what the image gets as its load options
}

// Node is one node of a device path (UEFI 2.10, 10.3.1).
type Node struct {
	Type, SubType byte
	Data          []byte
}

// Types of nodes.
const (
	typeMedia     = 4
	mediaHard     = 1
	mediaFile     = 4
	typeEnd       = 0x7f
	endEntire     = 0xff
	maxOptionSize = 1 << 16
)

// EncodeLoadOption returns the variable's data. A description that is not
// UTF-8 or has a zero in it, a path with an end in it, and what is too long for
// its length's 16 bits are refused.
func EncodeLoadOption(o LoadOption) ([]byte, error) {
	description, err := EncodeString(o.Description)
	if err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	var path []byte
	for _, n := range o.Path {
		if n.Type == typeEnd {
			return nil, errors.New("a device path ends where it ends")
		}
		if path, err = appendNode(path, n); err != nil {
			return nil, err
		}
	}
	path = append(append(path, typeEnd, endEntire, 4, 0), o.Rest...)
	if len(path) >= maxOptionSize {
		return nil, fmt.Errorf("a device path of %d bytes is too long", len(path))
	}
	b := binary.LittleEndian.AppendUint32(nil, o.Attributes)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(path)))
	b = append(append(b, description...), path...)
	return append(b, o.Data...), nil
}

func appendNode(b []byte, n Node) ([]byte, error) {
	if len(n.Data)+4 >= maxOptionSize {
		return nil, fmt.Errorf("a node of %d bytes is too long", len(n.Data))
	}
	b = binary.LittleEndian.AppendUint16(append(b, n.Type, n.SubType), uint16(len(n.Data)+4))
	return append(b, n.Data...), nil
}

// DecodeLoadOption takes a Boot#### variable's data apart; nothing of it is
// shared with b.
func DecodeLoadOption(b []byte) (LoadOption, error) {
	if len(b) < 6 {
		return LoadOption{}, fmt.Errorf("a load option has at least 6 bytes, this has %d", len(b))
	}
	o := LoadOption{Attributes: binary.LittleEndian.Uint32(b)}
	length := int(binary.LittleEndian.Uint16(b[4:]))
	b = b[6:]
	end := 0
	for ; ; end += 2 {
		if end+2 > len(b) {
			return LoadOption{}, errors.New("the description of a load option does not end")
		}
		if b[end] == 0 && b[end+1] == 0 {
			break
		}
	}
	var err error
	if o.Description, err = DecodeString(b[:end]); err != nil {
		return LoadOption{}, fmt.Errorf("the description of a load option: %w", err)
	}
	b = b[end+2:]
	if length > len(b) {
		return LoadOption{}, fmt.Errorf("the device path of a load option has %d bytes, and %d are there", length, len(b))
	}
	path := b[:length]
	for {
		if len(path) < 4 {
			return LoadOption{}, errors.New("the device path of a load option does not end")
		}
		n := Node{Type: path[0], SubType: path[1]}
		size := int(binary.LittleEndian.Uint16(path[2:]))
		if size < 4 || size > len(path) {
			return LoadOption{}, fmt.Errorf("a node of a device path says that it has %d bytes", size)
		}
		n.Data = append([]byte(nil), path[4:size]...)
		path = path[size:]
		if n.Type == typeEnd {
			if n.SubType != endEntire || len(n.Data) != 0 {
				return LoadOption{}, fmt.Errorf("an end of a device path of subtype %d and %d bytes", n.SubType, size)
			}
			break
		}
		o.Path = append(o.Path, n)
	}
	o.Rest = append([]byte(nil), path...)
	o.Data = append([]byte(nil), b[length:]...)
	return o, nil
}

// HardDrive is a partition of a GPT as a device path names it (UEFI 2.10,
// 10.3.5.1): the firmware looks for its GUID on all disks.
type HardDrive struct {
	Number      uint32 // from 1
	Start, Size uint64 // logical blocks
	GUID        string // of the partition, as blkid(8) prints PARTUUID
}

const (
	hardSize     = 38
	formatGPT    = 2
	signatureGPT = 2
)

// Node is the partition in a device path.
func (h HardDrive) Node() (Node, error) {
	guid, err := EncodeGUID(h.GUID)
	if err != nil {
		return Node{}, err
	}
	b := binary.LittleEndian.AppendUint32(nil, h.Number)
	b = binary.LittleEndian.AppendUint64(b, h.Start)
	b = binary.LittleEndian.AppendUint64(b, h.Size)
	return Node{typeMedia, mediaHard, append(append(b, guid[:]...), formatGPT, signatureGPT)}, nil
}

// FileNode is the file at path, from the root of its file system and with
// backslashes, in a device path (UEFI 2.10, 10.3.5.4).
func FileNode(path string) (Node, error) {
	b, err := EncodeString(path)
	if err != nil {
		return Node{}, fmt.Errorf("a file's path: %w", err)
	}
	return Node{typeMedia, mediaFile, b}, nil
}

// HardDrive returns the partition of a GPT that the option's path names.
func (o LoadOption) HardDrive() (HardDrive, bool) {
	for _, n := range o.Path {
		if n.Type != typeMedia || n.SubType != mediaHard || len(n.Data) != hardSize {
			continue
		}
		if n.Data[36] != formatGPT || n.Data[37] != signatureGPT {
			continue
		}
		return HardDrive{
			Number: binary.LittleEndian.Uint32(n.Data),
			Start:  binary.LittleEndian.Uint64(n.Data[4:]),
			Size:   binary.LittleEndian.Uint64(n.Data[12:]),
			GUID:   decodeGUID(n.Data[20:36]),
		}, true
	}
	return HardDrive{}, false
}

// File returns the path of the file that the option's path names, empty if it
// names none. A path may stand in several nodes, with or without backslashes
// between them (UEFI 2.10, 10.3.5.4).
func (o LoadOption) File() string {
	var b strings.Builder
	for _, n := range o.Path {
		if n.Type != typeMedia || n.SubType != mediaFile {
			continue
		}
		s, err := DecodeString(n.Data)
		if err != nil {
			return ""
		}
		if b.Len() > 0 && !strings.HasPrefix(s, `\`) && !strings.HasSuffix(b.String(), `\`) {
			b.WriteByte('\\')
		}
		b.WriteString(s)
	}
	return b.String()
}

// EncodeGUID returns the 16 bytes of a GUID, its first three fields in little
// endian (UEFI 2.10, appendix A).
func EncodeGUID(s string) (g [16]byte, err error) {
	var a uint32
	var b, c, d uint16
	var e uint64
	if len(s) != 36 || strings.ContainsAny(s, "+ \t\n") {
		return g, fmt.Errorf("%q is no GUID", s)
	}
	if _, err := fmt.Sscanf(s, "%08x-%04x-%04x-%04x-%012x", &a, &b, &c, &d, &e); err != nil {
		return g, fmt.Errorf("%q is no GUID", s)
	}
	binary.LittleEndian.PutUint32(g[:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	binary.BigEndian.PutUint64(g[8:], uint64(d)<<48|e)
	return g, nil
}

func decodeGUID(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}
