package efivar

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

const partition = "beadbead-0000-4000-8000-000000000001"

func trialOption(t testing.TB) LoadOption {
	t.Helper()
	hard, err := HardDrive{Number: 1, Start: 2048, Size: 69632, GUID: partition}.Node()
	file, err2 := FileNode(`\EFI\beadm-trial\grubx64.efi`)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return LoadOption{Attributes: OptionActive | OptionHidden | OptionApp, Description: "beadm trial", Path: []Node{hard, file}}
}

// debian is put together by hand from UEFI 2.10, 3.1.3, 10.3.5.1 and 10.3.5.4;
// efibootmgr reads it below.
const debian = "\x01\x00\x00\x00" + "\x62\x00" + "d\x00e\x00b\x00i\x00a\x00n\x00\x00\x00" +
	"\x04\x01\x2a\x00" + "\x01\x00\x00\x00" + "\x00\x08\x00\x00\x00\x00\x00\x00" + "\x00\x10\x01\x00\x00\x00\x00\x00" +
	"\xad\xbe\xad\xbe\x00\x00\x00\x40\x80\x00\x00\x00\x00\x00\x00\x01" + "\x02\x02" +
	"\x04\x04\x34\x00" + "\\\x00E\x00F\x00I\x00\\\x00d\x00e\x00b\x00i\x00a\x00n\x00\\\x00s\x00h\x00i\x00m\x00x\x006\x004\x00.\x00e\x00f\x00i\x00\x00\x00" +
	"\x7f\xff\x04\x00"

func TestLoadOptionBytes(t *testing.T) {
	o, err := DecodeLoadOption([]byte(debian))
	if err != nil {
		t.Fatal(err)
	}
	hard, ok := o.HardDrive()
	if want := (HardDrive{1, 2048, 69632, partition}); !ok || hard != want || o.File() != `\EFI\debian\shimx64.efi` || o.Description != "debian" || o.Attributes != OptionActive || len(o.Data) != 0 {
		t.Errorf("read as %+v, %+v, %q", o, hard, o.File())
	}
	if b, err := EncodeLoadOption(o); err != nil || string(b) != debian {
		t.Errorf("written as %q %v", b, err)
	}
	for cut := range len(debian) {
		if o, err := DecodeLoadOption([]byte(debian[:cut])); err == nil {
			t.Errorf("the first %d bytes are %+v", cut, o)
		}
	}
	for _, bad := range []HardDrive{{GUID: ""}, {GUID: strings.Repeat("g", 36)}, {GUID: "+" + partition[1:]}} {
		if n, err := bad.Node(); err == nil {
			t.Errorf("%q is a GUID: %+v", bad.GUID, n)
		}
	}
	o.Path = append(o.Path, Node{Type: typeEnd})
	if b, err := EncodeLoadOption(o); err == nil {
		t.Errorf("a path with an end in it: %q", b)
	}
	o.Path = []Node{{Type: typeMedia, SubType: mediaFile, Data: []byte("a\x00")}, {Type: typeMedia, SubType: mediaFile, Data: []byte("b\x00\x00\x00")}}
	if got := o.File(); got != `a\b` {
		t.Errorf("a path in two nodes is %q", got)
	}
}

// TestLoadOptionAgreesWithEfibootmgr has the owner of the tool's format read
// what is written here, and reads what it writes.
func TestLoadOptionAgreesWithEfibootmgr(t *testing.T) {
	tool, err := exec.LookPath("efibootmgr")
	if err != nil {
		t.Fatalf("%v: install efibootmgr", err)
	}
	d := Dir(t.TempDir())
	b, err := EncodeLoadOption(trialOption(t))
	if err := errors.Join(err, d.Write(BootOption(0x1a), b), d.Write(BootOption(3), []byte(debian)),
		d.Write(BootOrder, EncodeNumbers(3)), d.Write(BootNext, EncodeNumbers(0x1a)), d.Write(BootCurrent, EncodeNumbers(3))); err != nil {
		t.Fatal(err)
	}
	// libefivar looks there, and asks no further (efivar's src/lib.c, src/efivarfs.c).
	efibootmgr := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(tool, args...)
		cmd.Env = append(os.Environ(), "EFIVARFS_PATH="+string(d)+"/", "LIBEFIVAR_OPS=efivarfs", "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("efibootmgr %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, want := range []string{
		"BootNext: 001A\n", "BootCurrent: 0003\n", "BootOrder: 0003\n",
		"Boot001A* beadm trial\tHD(1,GPT,beadbead-0000-4000-8000-000000000001,0x800,0x11000)/File(\\EFI\\beadm-trial\\grubx64.efi)\n",
		"Boot0003* debian\tHD(1,GPT,beadbead-0000-4000-8000-000000000001,0x800,0x11000)/File(\\EFI\\debian\\shimx64.efi)\n",
	} {
		if out := efibootmgr("-v"); !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	efibootmgr("-n", "0003")
	if b, err := d.Read(BootNext); err != nil || !bytes.Equal(b, EncodeNumbers(3)) {
		t.Errorf("BootNext is %q %v", b, err)
	}
	efibootmgr("-b", "001A", "-A")
	b, err = d.Read(BootOption(0x1a))
	o, err2 := DecodeLoadOption(b)
	want := trialOption(t)
	want.Attributes &^= OptionActive
	if err := errors.Join(err, err2); err != nil || o.Attributes != want.Attributes || o.File() != want.File() {
		t.Errorf("made inactive: %+v %v, want %+v", o, err, want)
	}
}

func TestNumbers(t *testing.T) {
	for _, n := range []uint16{0, 3, 0x1a, 0xffff} {
		if got, ok := BootOptionNumber(BootOption(n)); !ok || got != n {
			t.Errorf("%s has the number %x %v", BootOption(n).Name, got, ok)
		}
	}
	for _, v := range []Var{{"BootNext", global}, {"Boot001a", global}, {"Boot00010", global}, {"Boot0001", loader}, {"Boot", global}} {
		if n, ok := BootOptionNumber(v); ok {
			t.Errorf("%+v has the number %x", v, n)
		}
	}
	if got, err := DecodeNumbers(EncodeNumbers(3, 0, 0x1a2b)); err != nil || !reflect.DeepEqual(got, []uint16{3, 0, 0x1a2b}) {
		t.Errorf("%x %v", got, err)
	}
	if _, err := DecodeNumbers([]byte("abc")); err == nil {
		t.Error("three bytes are numbers")
	}
	for _, b := range []string{"", "a", "abcd"} {
		if n, err := DecodeNumber([]byte(b)); err == nil {
			t.Errorf("%q is %x", b, n)
		}
	}
}

func TestNames(t *testing.T) {
	d := Dir(t.TempDir())
	if err := errors.Join(d.Write(BootNext, []byte("ab")), d.Write(OneShot, []byte("x")), os.WriteFile(string(d)+"/other", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Names(); err != nil || !reflect.DeepEqual(got, []Var{BootNext, OneShot}) {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := Dir(string(d) + "/none").Names(); err == nil {
		t.Errorf("%+v where nothing is", got)
	}
}

// FuzzLoadOption: what is read is written as it was, but for what is behind
// the zero of a string.
func FuzzLoadOption(f *testing.F) {
	b, err := EncodeLoadOption(trialOption(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(debian))
	f.Add([]byte(debian[:len(debian)-4] + "\x7f\x01\x04\x00" + debian[22:] + "data"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := DecodeLoadOption(b)
		if err != nil {
			return
		}
		o.HardDrive()
		o.File()
		if again, err := EncodeLoadOption(o); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is read as %+v, which is written as %q %v", b, o, again, err)
		}
	})
}
