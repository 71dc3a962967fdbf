package grub

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/efivar"
	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/simfirmware"
)

// TestVMNextTable runs the truth table of a token that the firmware takes on
// real GRUB, which is told where it was started from.
func TestVMNextTable(t *testing.T) {
	needVM(t)
	for _, row := range loadertest.ParseRows(nextTable) {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lay(t, dir, row)
			m := build(t, dir)
			m.readOnly = row.ReadOnly
			m.start(t, "set cmdpath='"+cmdPath(row)+"'\nexport cmdpath\n"+startText)
			text := m.power(t)
			if got := played(text); !row.Right(got) {
				t.Errorf("boots %+v, want %+v\n%s", got, row.Want, text)
			}
			if row.After == nil {
				return
			}
			if after := m.read(t, "beadm/env"); string(after) != string(row.After) {
				t.Errorf("environment is %q, want %q", after, row.After)
			}
		})
	}
}

// The firmware of Debian's package ovmf.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// uefiStart is what EFI/debian/grub.cfg says here.
const uefiStart = `set pager=
function linux {
	echo "KERNEL $*"
	[ -f "$1" ]
}
function initrd {
	if [ -f "$1" ]; then
		echo "LOADED $1"
		halt
	fi
	false
}
`

// firmwareMachine is the disk and the firmware's memory of a machine with UEFI
// and GRUB, as u has them.
type firmwareMachine struct{ disk, vars string }

// realUEFI has GRUB's image, which has no command linux: what stands in
// EFI/debian/grub.cfg does.
func realUEFI(t *testing.T, letters ...string) (*uefi, *Loader) {
	t.Helper()
	needVM(t)
	for _, file := range []string{ovmfCode, ovmfVars, "/usr/lib/grub/x86_64-efi/kernel.img"} {
		if _, err := os.Stat(file); err != nil {
			t.Fatalf("%v: install ovmf grub-efi-amd64-bin", err)
		}
	}
	u := newUEFI(t)
	u.fw.Drive.Size = 34 * 2048
	command(t, "grub-mkimage", "-O", "x86_64-efi", "-o", filepath.Join(u.esp, "EFI/debian/grubx64.efi"), "-p", "/EFI/debian",
		"part_gpt", "fat", "ext2", "normal", "configfile", "search", "search_fs_uuid", "search_label",
		"loadenv", "test", "true", "echo", "reboot", "halt", "sleep", "regexp")
	u.write("EFI/debian/grub.cfg", uefiStart+"configfile $prefix/next.cfg\n")
	cfg := u.loader(nil).cfg
	cfg.Hook, cfg.Timeout = true, -1
	l := New(cfg)
	for i, letter := range letters {
		e := loadertest.Entry(letter, "BE "+letter)
		put := l.Put
		if i == 0 {
			put = l.Install
		}
		u.ok(put(t.Context(), e))
		u.write(e.Root.Prefix+"/initrd.img", "initrd")
		u.write(e.Root.Prefix+"/vmlinuz", "kernel")
	}
	// The functions are there before beadm's call, and the file system's UUID,
	// which a directory has none of, is the ESP's.
	stub := filepath.Join(u.esp, "EFI/debian/grub.cfg")
	b, err := os.ReadFile(stub)
	u.ok(err)
	hook, _, ok := strings.Cut(string(b), hookEnd)
	if !ok || !strings.HasPrefix(string(b), hookBegin) {
		t.Fatalf("EFI/debian/grub.cfg is %q", b)
	}
	u.write("EFI/debian/grub.cfg", uefiStart+strings.ReplaceAll(hook, "0000-0000", fatUUID)+hookEnd+"echo FELLTHROUGH\nhalt\n")
	return u, l
}

func (u *uefi) build() firmwareMachine {
	u.t.Helper()
	dir := u.t.TempDir()
	m := firmwareMachine{filepath.Join(dir, "disk.img"), filepath.Join(dir, "vars.fd")}
	if err := os.WriteFile(m.disk, nil, 0o600); err != nil {
		u.t.Fatal(err)
	}
	u.ok(os.Truncate(m.disk, int64(testDrive.Start+testDrive.Size+2048)*512))
	command(u.t, "sgdisk", fmt.Sprintf("-n1:%d:+%dM", testDrive.Start, testDrive.Size/2048), "-t1:ef00", "-u1:"+testDrive.GUID, m.disk)
	command(u.t, "mkfs.vfat", "-i", strings.ReplaceAll(fatUUID, "-", ""), "-F", "16", "--offset", fmt.Sprint(testDrive.Start), m.disk, fmt.Sprint(testDrive.Size/2))
	fat := fmt.Sprintf("%s@@%d", m.disk, testDrive.Start*512)
	list, err := os.ReadDir(u.esp)
	u.ok(err)
	for _, e := range list {
		command(u.t, "mcopy", "-s", "-i", fat, filepath.Join(u.esp, e.Name()), "::/")
	}
	store, err := os.ReadFile(ovmfVars)
	u.ok(err)
	names, err := u.fw.Vars.Names()
	u.ok(err)
	for _, v := range names {
		if v == efivar.BootCurrent {
			continue
		}
		b, err := u.fw.Vars.Read(v)
		u.ok(err)
		u.ok(simfirmware.Store(store).Add(v, b))
	}
	u.ok(os.WriteFile(m.vars, store, 0o600))
	return m
}

func (m firmwareMachine) variable(t *testing.T, v efivar.Var) []byte {
	t.Helper()
	store, err := os.ReadFile(m.vars)
	if err != nil {
		t.Fatal(err)
	}
	b, err := simfirmware.Store(store).Get(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// power turns the machine on, whose disk nobody can write to, and returns what
// it said.
func (m firmwareMachine) power(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,tb-size=64", "-m", "256", "-machine", "q35",
		"-nodefaults", "-nographic", "-serial", "stdio", "-monitor", "none",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmfCode,
		"-drive", "if=pflash,format=raw,unit=1,file="+filepath.Base(m.vars),
		"-drive", "file="+filepath.Base(m.disk)+",if=virtio,format=raw,readonly=on")
	cmd.Dir = filepath.Dir(m.disk) // QEMU splits a path at commas
	out, err := cmd.CombinedOutput()
	text := ansi.ReplaceAllString(string(out), "")
	if err != nil {
		t.Fatalf("QEMU: %v %v\n%s", err, ctx.Err(), text)
	}
	return text
}

// TestVMNext starts a trial by OVMF's BootNext, once, with GRUB on a disk that
// it cannot write to.
func TestVMNext(t *testing.T) {
	a, trial := loadertest.Played{ID: loadertest.ID("a")}, loadertest.Played{ID: loadertest.ID("b"), Trial: true}
	for _, c := range []struct {
		name  string
		do    func(u *uefi)
		boots []loadertest.Played
	}{
		{"armed", func(*uefi) {}, []loadertest.Played{trial, a}},
		{"the option is first in the order", func(u *uefi) { u.set(efivar.BootOrder, efivar.EncodeNumbers(1, 0)) }, []loadertest.Played{trial, a}},
		{"the option is gone", func(u *uefi) { u.set(efivar.BootOption(1), nil) }, []loadertest.Played{a}},
		{"the image is gone", func(u *uefi) { os.RemoveAll(filepath.Join(u.esp, "EFI", trialDir)) }, []loadertest.Played{a}},
		{"the trial cannot be loaded", func(u *uefi) { os.Remove(filepath.Join(u.esp, "roots", loadertest.ID("b"), "vmlinuz")) }, []loadertest.Played{a}},
		{"struck out", func(u *uefi) {
			// A cut between that and the deletion of BootNext.
			n := efivar.EncodeNumbers(1)
			option, err := u.fw.Vars.Read(efivar.BootOption(1))
			u.ok(err)
			u.ok(u.loader(nil).Disarm(t.Context()))
			u.set(efivar.BootOption(1), option)
			u.set(efivar.BootNext, n)
		}, []loadertest.Played{a}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, l := realUEFI(t, "a", "b")
			t.Parallel()
			u.ok(l.Arm(t.Context(), loadertest.ID("b")))
			c.do(u)
			m := u.build()
			for i, want := range c.boots {
				text := m.power(t)
				if got := played(text); got != want {
					t.Errorf("boot %d: %+v, want %+v\n%s", i, got, want, text)
				}
				if b := m.variable(t, efivar.BootNext); b != nil {
					t.Errorf("boot %d: BootNext is still %x", i, b)
				}
			}
		})
	}
}
