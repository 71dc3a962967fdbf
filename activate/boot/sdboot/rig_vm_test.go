package sdboot

import (
	"context"
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
	"beadm/activate/boot/simfirmware"
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
		t.Skip("NOT RUN: real systemd-boot in QEMU; make test-vm runs it (BEADM_VM=1; needs qemu-system-x86, ovmf, systemd-boot-efi, gdisk, mtools, dosfstools)")
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
	addVariable(t, vars, efivar.BootOption(0), loadOption(t, `\EFI\systemd\systemd-bootx64.efi`))
	addVariable(t, vars, efivar.BootOrder, efivar.EncodeNumbers(0))
	if err := os.WriteFile(m.vars, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// loadOption is a boot option that leads to a file on the ESP.
func loadOption(t *testing.T, path string) []byte {
	t.Helper()
	drive, err := efivar.HardDrive{Number: 1, Start: espStart, Size: espSectors, GUID: simsdboot.PartUUID}.Node()
	if err != nil {
		t.Fatal(err)
	}
	file, err := efivar.FileNode(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := efivar.EncodeLoadOption(efivar.LoadOption{Attributes: efivar.OptionActive, Description: "Linux Boot Manager", Path: []efivar.Node{drive, file}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addVariable(t *testing.T, store []byte, v efivar.Var, data []byte) {
	t.Helper()
	if err := simfirmware.Store(store).Add(v, data); err != nil {
		t.Fatal(err)
	}
}

// variable is what the firmware has under that name now, nil if nothing.
func (m machine) variable(t *testing.T, v efivar.Var) []byte {
	t.Helper()
	store, err := os.ReadFile(m.vars)
	if err != nil {
		t.Fatal(err)
	}
	data, err := simfirmware.Store(store).Get(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
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
		"-drive", "if=pflash,format=raw,unit=1,file="+filepath.Base(m.vars),
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
