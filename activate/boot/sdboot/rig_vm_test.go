package sdboot

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/efivar"
	"beadm/activate/boot/sdboot/simsdboot"
)

// A virtual machine with UEFI that runs systemd-boot alone, on the bytes and
// variables this package writes: in place of a kernel a program of 1 KiB says
// what it was started with. Debian's packages ovmf and systemd-boot-efi.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	sdBoot   = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"

	espStart   = 2048 // sectors
	espSectors = 34 * 2048
)

// needVM skips unless BEADM_VM=1, and then fails if something is missing.
func needVM(t *testing.T) {
	t.Helper()
	if os.Getenv("BEADM_VM") != "1" {
		t.Skip("NOT RUN: real systemd-boot in QEMU; set BEADM_VM=1 (needs qemu-system-x86, ovmf, systemd-boot-efi, gdisk, mtools, dosfstools)")
	}
	for _, tool := range []string{"qemu-system-x86_64", "sgdisk", "mkfs.vfat", "mcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: install qemu-system-x86 gdisk mtools dosfstools", err)
		}
	}
	for _, file := range []string{ovmfCode, ovmfVars, loaderImage()} {
		if _, err := os.Stat(file); err != nil {
			t.Fatalf("%v: install ovmf systemd-boot-efi", err)
		}
	}
}

// loaderImage is the systemd-boot under test: BEADM_SDBOOT may name another
// version's.
func loaderImage() string {
	if file := os.Getenv("BEADM_SDBOOT"); file != "" {
		return file
	}
	return sdBoot
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// machine is the disk and the firmware's memory of one.
type machine struct {
	disk, vars string
	second     string // disk; empty: none
}

// build makes a disk of w's ESP, and variables that hold w's. The firmware
// starts systemd-boot from where `bootctl install` puts it, and, when that
// gives up, from the path that every firmware falls back to.
func build(t *testing.T, w *world) machine {
	t.Helper()
	dir := t.TempDir()
	m := machine{disk: filepath.Join(dir, "disk.img"), vars: filepath.Join(dir, "vars.fd")}
	if err := os.WriteFile(m.disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(m.disk, (espStart+espSectors+2048)*512); err != nil {
		t.Fatal(err)
	}
	command(t, "sgdisk", fmt.Sprintf("-n1:%d:+%dM", espStart, espSectors/2048), "-t1:ef00", "-u1:"+simsdboot.PartUUID, m.disk)
	command(t, "mkfs.vfat", "-F", "16", "--offset", fmt.Sprint(espStart), m.disk, fmt.Sprint(espSectors/2))
	fat := fmt.Sprintf("%s@@%d", m.disk, espStart*512)
	list, err := os.ReadDir(w.esp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		command(t, "mcopy", "-s", "-i", fat, filepath.Join(w.esp, e.Name()), "::/")
	}
	command(t, "mmd", "-i", fat, "::/EFI", "::/EFI/BOOT", "::/EFI/systemd")
	for _, to := range []string{"::/EFI/BOOT/BOOTX64.EFI", "::/EFI/systemd/systemd-bootx64.efi"} {
		command(t, "mcopy", "-i", fat, loaderImage(), to)
	}
	vars, err := os.ReadFile(ovmfVars)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []efivar.Var{efivar.OneShot, efivar.Default, efivar.Preferred} {
		if data, err := w.vars.Read(v); err == nil {
			addVariable(t, vars, v, data)
		}
	}
	const global = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	addVariable(t, vars, efivar.Var{Name: "Boot0000", Vendor: global}, loadOption(`\EFI\systemd\systemd-bootx64.efi`))
	addVariable(t, vars, efivar.Var{Name: "BootOrder", Vendor: global}, []byte{0, 0})
	if err := os.WriteFile(m.vars, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// loadOption is an EFI_LOAD_OPTION (UEFI 2.10, 3.1.3) with a device path of a
// GPT partition and a file (10.3.5.1, 10.3.5.4).
func loadOption(path string) []byte {
	file, _ := efivar.EncodeString(path)
	title, _ := efivar.EncodeString("Linux Boot Manager")
	var device []byte
	device = append(device, 4, 1, 42, 0)
	device = binary.LittleEndian.AppendUint32(device, 1)
	device = binary.LittleEndian.AppendUint64(device, espStart)
	device = binary.LittleEndian.AppendUint64(device, espSectors)
	device = append(append(device, guid(simsdboot.PartUUID)...), 2, 2)
	device = binary.LittleEndian.AppendUint16(append(device, 4, 4), uint16(4+len(file)))
	device = append(append(device, file...), 0x7f, 0xff, 4, 0)
	out := binary.LittleEndian.AppendUint32(nil, 1) // active
	out = binary.LittleEndian.AppendUint16(out, uint16(len(device)))
	return append(append(out, title...), device...)
}

// guid is a GUID's 16 bytes (UEFI 2.10, appendix A).
func guid(s string) []byte {
	b, _ := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	for _, swap := range [][2]int{{0, 3}, {1, 2}, {4, 5}, {6, 7}} {
		b[swap[0]], b[swap[1]] = b[swap[1]], b[swap[0]]
	}
	return b
}

// Places in OVMF's store of variables (EDK II,
// MdeModulePkg/Include/Guid/VariableFormat.h, AUTHENTICATED_VARIABLE_HEADER).
const (
	storeHeader    = 28
	variableHeader = 60
	added          = 0x3f
)

// variables calls f for each variable, until it says that is it, and returns
// where the next one can be put.
func variables(t *testing.T, store []byte, f func(at int, name, vendor, data []byte) bool) int {
	t.Helper()
	at := bytes.Index(store, guid("aaf32c78-947b-439a-a180-2e144ec37792"))
	if at < 0 {
		t.Fatal("OVMF's file of variables has no store of them")
	}
	at += storeHeader
	for binary.LittleEndian.Uint16(store[at:]) == 0x55aa {
		names, datas := int(binary.LittleEndian.Uint32(store[at+36:])), int(binary.LittleEndian.Uint32(store[at+40:]))
		name := store[at+variableHeader:][:names]
		if f != nil && f(at, name, store[at+44:at+60], store[at+variableHeader+names:][:datas]) {
			return at
		}
		at = (at + variableHeader + names + datas + 3) &^ 3
	}
	return at
}

func addVariable(t *testing.T, store []byte, v efivar.Var, data []byte) {
	t.Helper()
	name, err := efivar.EncodeString(v.Name)
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, variableHeader)
	binary.LittleEndian.PutUint16(head, 0x55aa)
	head[2] = added
	binary.LittleEndian.PutUint32(head[4:], efivar.Attributes)
	binary.LittleEndian.PutUint32(head[36:], uint32(len(name)))
	binary.LittleEndian.PutUint32(head[40:], uint32(len(data)))
	copy(head[44:], guid(v.Vendor))
	copy(store[variables(t, store, nil):], append(append(head, name...), data...))
}

// variable is what the firmware has under that name now, nil if nothing.
func (m machine) variable(t *testing.T, v efivar.Var) []byte {
	t.Helper()
	store, err := os.ReadFile(m.vars)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := efivar.EncodeString(v.Name)
	var found []byte
	variables(t, store, func(at int, name, vendor, data []byte) bool {
		if store[at+2] == added && bytes.Equal(name, want) && bytes.Equal(vendor, guid(v.Vendor)) {
			found = append([]byte{}, data...)
		}
		return found != nil
	})
	return found
}

var (
	ansi = regexp.MustCompile("\x1b\\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc")
	told = regexp.MustCompile(`TOLD<([^>]*)>END`)
)

// power turns the machine on and returns what the program in place of a kernel
// was told, and all that was said.
func (m machine) power(t *testing.T) (options, console string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,tb-size=64", "-m", "256", "-machine", "q35",
		"-nodefaults", "-nographic", "-serial", "stdio", "-monitor", "none",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmfCode,
		"-drive", "if=pflash,format=raw,unit=1,file="+m.vars,
		"-drive", "file="+filepath.Base(m.disk)+",if=virtio,format=raw,cache=writethrough")
	if m.second != "" {
		cmd.Args = append(cmd.Args, "-drive", "file="+filepath.Base(m.second)+",if=virtio,format=raw,cache=writethrough")
	}
	cmd.Dir = filepath.Dir(m.disk) // QEMU splits a path at commas
	out, err := cmd.CombinedOutput()
	console = ansi.ReplaceAllString(string(out), "")
	if err != nil {
		t.Errorf("QEMU: %v %v\n%s", err, ctx.Err(), console)
		return "", console
	}
	if match := told.FindStringSubmatch(strings.NewReplacer("\r", "", "\n", "").Replace(console)); match != nil {
		options = match[1]
	}
	return options, console
}
