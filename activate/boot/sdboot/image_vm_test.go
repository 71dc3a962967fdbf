package sdboot

import (
	"bytes"
	"encoding/binary"
	"strings"

	"beadm/activate/boot/efivar"
)

// teller is an EFI program that says what it was started with and turns the
// machine off: what stands for a kernel. id makes it differ from others.
//
// The file is PE32+ with one section (Microsoft, "PE Format"); what it calls
// and where is of UEFI 2.10, 4.3 (EFI_SYSTEM_TABLE), 7.3 (HandleProtocol),
// 9.1 (EFI_LOADED_IMAGE_PROTOCOL), 12.4 (OutputString), 8.5 (ResetSystem).
func teller(id string) string {
	const rva, fileAlign, sectionAlign = 0x1000, 0x200, 0x1000
	utf16 := func(s string) []byte { b, _ := efivar.EncodeString(s); return b }
	data := [][]byte{
		// EFI_LOADED_IMAGE_PROTOCOL_GUID
		{0xa1, 0x31, 0x1b, 0x5b, 0x62, 0x95, 0xd2, 0x11, 0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b},
		utf16("\r\nTOLD<"),
		utf16(">END\r\n"),
		[]byte(id),
	}
	var code []byte
	fix := map[int]int{} // place of a 32-bit distance → which data
	op := func(hex ...byte) { code = append(code, hex...) }
	address := func(which int) { // lea rdx,[rip+…]
		op(0x48, 0x8d, 0x15)
		fix[len(code)] = which
		op(0, 0, 0, 0)
	}
	op(0x53, 0x57)                               // push rbx; push rdi
	op(0x48, 0x83, 0xec, 0x38)                   // sub rsp,0x38
	op(0x48, 0x89, 0xd3)                         // mov rbx,rdx: the system table
	address(0)                                   //
	op(0x4c, 0x8d, 0x44, 0x24, 0x28)             // lea r8,[rsp+0x28]
	op(0x48, 0x8b, 0x43, 0x60)                   // mov rax,[rbx+0x60]: boot services
	op(0xff, 0x90, 0x98, 0x00, 0x00, 0x00)       // call [rax+0x98]: HandleProtocol
	op(0x48, 0x8b, 0x7c, 0x24, 0x28)             // mov rdi,[rsp+0x28]
	op(0x48, 0x8b, 0x4b, 0x40)                   // mov rcx,[rbx+0x40]: ConOut
	address(1)                                   //
	op(0xff, 0x51, 0x08)                         // call [rcx+8]: OutputString
	op(0x48, 0x8b, 0x4b, 0x40)                   // mov rcx,[rbx+0x40]
	op(0x48, 0x8b, 0x57, 0x38)                   // mov rdx,[rdi+0x38]: LoadOptions
	op(0xff, 0x51, 0x08)                         // call [rcx+8]
	op(0x48, 0x8b, 0x4b, 0x40)                   // mov rcx,[rbx+0x40]
	address(2)                                   //
	op(0xff, 0x51, 0x08)                         // call [rcx+8]
	op(0xb9, 2, 0, 0, 0)                         // mov ecx,2: EfiResetShutdown
	op(0x31, 0xd2, 0x45, 0x31, 0xc0)             // xor edx,edx; xor r8d,r8d
	op(0x45, 0x31, 0xc9, 0x48, 0x8b, 0x43, 0x58) // xor r9d,r9d; mov rax,[rbx+0x58]: runtime services
	op(0xff, 0x50, 0x68, 0xeb, 0xfe)             // call [rax+0x68]: ResetSystem; jmp $
	at := make([]int, len(data))
	for i, d := range data {
		for len(code)%8 != 0 {
			code = append(code, 0)
		}
		at[i] = len(code)
		code = append(code, d...)
	}
	for place, which := range fix {
		binary.LittleEndian.PutUint32(code[place:], uint32(at[which]-(place+4)))
	}
	size := len(code)
	for len(code)%fileAlign != 0 {
		code = append(code, 0)
	}

	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			binary.Write(&b, binary.LittleEndian, v)
		}
	}
	put([]byte("MZ"), make([]byte, 0x3a), uint32(0x40), []byte("PE\x00\x00"))
	put(uint16(0x8664), uint16(1), uint32(0), uint32(0), uint32(0), uint16(240), uint16(0x222))
	put(uint16(0x20b), uint16(0), uint32(len(code)), uint32(0), uint32(0), uint32(rva), uint32(rva))
	put(uint64(0), uint32(sectionAlign), uint32(fileAlign), [6]uint16{}, uint32(0))
	put(uint32(2*sectionAlign), uint32(fileAlign), uint32(0), uint16(10), uint16(0), [4]uint64{}, uint32(0), uint32(16), [16]uint64{})
	put([]byte(".text\x00\x00\x00"), uint32(size), uint32(rva), uint32(len(code)), uint32(fileAlign), [3]uint32{}, uint32(0x60000020))
	return b.String() + strings.Repeat("\x00", fileAlign-b.Len()) + string(code)
}
