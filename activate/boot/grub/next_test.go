package grub

import (
	_ "embed"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/grub/simgrub"
	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/simfirmware"
	"beadm/be"
)

//go:embed table_next_test.txt
var nextTable string

// cmdPath is GRUB's $cmdpath for what a row says it was started as.
func cmdPath(row loadertest.Row) string {
	return map[string]string{
		"trial": "(hd0,gpt1)/EFI/beadm-trial", "TRIAL": "(hd0,gpt1)/efi/BEADM-TRIAL",
		"other": "(hd0,gpt1)/EFI/beadm-trial2", "": "(hd0,gpt1)/EFI/debian",
	}[row.Start]
}

// uefi is a machine whose GRUB cannot write.
type uefi struct {
	t   *testing.T
	esp string
	fw  simfirmware.Firmware
}

// debianImage is the path of GRUB, as the firmware has it.
const debianImage = `\EFI\debian\grubx64.efi`

var testDrive = efivar.HardDrive{Number: 1, Start: 2048, Size: 69632, GUID: "beadbead-0000-4000-8000-000000000001"}

func newUEFI(t *testing.T) *uefi {
	t.Helper()
	u := &uefi{t: t, esp: memory(t)}
	u.fw = simfirmware.Firmware{Vars: simfirmware.Vars{Dir: memory(t)}, ESP: u.esp, Drive: testDrive}
	u.write("EFI/debian/grubx64.efi", "MZ\x00grub_env_set\x00")
	u.set(efivar.BootOption(0), u.option("debian", debianImage, efivar.OptionActive))
	u.set(efivar.BootOrder, efivar.EncodeNumbers(0))
	u.set(efivar.BootCurrent, efivar.EncodeNumbers(0))
	return u
}

func (u *uefi) write(name, text string) {
	u.t.Helper()
	path := filepath.Join(u.esp, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		u.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		u.t.Fatal(err)
	}
}

// set writes a variable as somebody else does; nil deletes it.
func (u *uefi) set(v efivar.Var, data []byte) {
	u.t.Helper()
	os.Remove(filepath.Join(u.fw.Vars.Dir, v.FileName()))
	if data != nil {
		if err := efivar.Dir(u.fw.Vars.Dir).Write(v, data); err != nil {
			u.t.Fatal(err)
		}
	}
}

func (u *uefi) option(title, path string, attributes uint32) []byte {
	u.t.Helper()
	drive, err := testDrive.Node()
	if err != nil {
		u.t.Fatal(err)
	}
	file, err := efivar.FileNode(path)
	if err != nil {
		u.t.Fatal(err)
	}
	b, err := efivar.EncodeLoadOption(efivar.LoadOption{Attributes: attributes, Description: title, Path: []efivar.Node{drive, file}})
	if err != nil {
		u.t.Fatal(err)
	}
	return b
}

func (u *uefi) loader(step func(string) error) *Loader {
	cfg := testConfig(u.esp, step)
	cfg.Token, cfg.Variables, cfg.ESP = TokenBootNext, u.fw.Vars, u.esp
	cfg.Drives = func(string) ([]efivar.HardDrive, error) { return []efivar.HardDrive{testDrive}, nil }
	return New(cfg)
}

func (u *uefi) ready(letters ...string) *Loader {
	u.t.Helper()
	l := u.loader(nil)
	for i, letter := range letters {
		err := l.Put
		if i == 0 {
			err = l.Install
		}
		if err := err(u.t.Context(), loadertest.Entry(letter, "BE "+letter)); err != nil {
			u.t.Fatal(err)
		}
	}
	return l
}

// play turns the machine on: GRUB cannot write.
func (u *uefi) play() (loadertest.Played, error) {
	b, err := simgrub.Machine{Dir: u.esp, ReadOnly: true, Firmware: func() (string, error) {
		path, err := u.fw.Image()
		return "(hd0,gpt1)" + strings.ReplaceAll(path[:strings.LastIndex(path, `\`)], `\`, "/"), err
	}}.PowerOn()
	return loadertest.Played{ID: b.ID, Trial: b.Trial}, err
}

func (u *uefi) boots(letter string, trial bool) {
	u.t.Helper()
	if got, err := u.play(); err != nil || got != (loadertest.Played{ID: loadertest.ID(letter), Trial: trial}) {
		u.t.Errorf("boots %+v %v, want %s %v", got, err, letter, trial)
	}
}

func (u *uefi) state(def, trial, tried string) {
	u.t.Helper()
	id := func(letter string) string {
		if letter == "" {
			return ""
		}
		return loadertest.ID(letter)
	}
	want := boot.State{Default: id(def), Trial: id(trial), Tried: id(tried)}
	if got, err := u.loader(nil).State(u.t.Context()); err != nil || got != want {
		u.t.Errorf("state is %+v %v, want %+v", got, err, want)
	}
}

// ours are the boot options with our path, and BootNext, as names.
func (u *uefi) ours() []string {
	u.t.Helper()
	var out []string
	names, err := u.fw.Vars.Names()
	if err != nil {
		u.t.Fatal(err)
	}
	for _, v := range names {
		b, err := u.fw.Vars.Read(v)
		if err != nil {
			u.t.Fatal(err)
		}
		if o, err := efivar.DecodeLoadOption(b); v == efivar.BootNext || err == nil && strings.Contains(o.File(), trialDir) {
			out = append(out, v.Name)
		}
	}
	return out
}

func (u *uefi) ok(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

func TestNextContract(t *testing.T) {
	loadertest.Run(t, func(t *testing.T) loadertest.Fixture {
		u := newUEFI(t)
		return loadertest.Fixture{
			Loader: func(step func(string) error) boot.Loader { return u.loader(step) },
			Play:   u.play,
		}
	})
}

func TestNextTable(t *testing.T) {
	for _, row := range loadertest.ParseRows(nextTable) {
		t.Run(row.Name, func(t *testing.T) {
			dir := t.TempDir()
			lay(t, dir, row)
			m := simgrub.Machine{Dir: dir, ReadOnly: row.ReadOnly, CmdPath: cmdPath(row)}
			b, err := m.PowerOn()
			if got := (loadertest.Played{ID: b.ID, Trial: b.Trial}); err != nil || !row.Right(got) {
				t.Errorf("boots %+v %v, want %+v", got, err, row.Want)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, "beadm", "env")); string(after) != string(row.After) {
				t.Errorf("environment is %q, want %q", after, row.After)
			}
		})
	}
}

// TestNextLeavesNothing: armed there is one option and BootNext; otherwise
// nothing of ours is in the firmware, and another's is as it was.
func TestNextLeavesNothing(t *testing.T) {
	u := newUEFI(t)
	windows := u.option("Windows Boot Manager", `\EFI\Microsoft\Boot\bootmgfw.efi`, efivar.OptionActive)
	u.set(efivar.BootOption(1), windows)
	u.set(efivar.BootOrder, efivar.EncodeNumbers(0, 1, 2)) // 2 is not there: it is still another's number
	l := u.ready("a", "b")
	ends := map[string]func() error{
		"disarm":      func() error { return l.Disarm(t.Context()) },
		"set default": func() error { return l.SetDefault(t.Context(), loadertest.ID("a")) },
		"trial over":  func() error { u.boots("b", true); return l.ClearTried(t.Context()) },
		"in the trial": func() error {
			u.boots("b", true)
			err := l.Disarm(t.Context())
			u.state("a", "", "b")
			return err
		},
	}
	for name, end := range ends {
		u.ok(l.Arm(t.Context(), loadertest.ID("b")))
		if got := strings.Join(u.ours(), " "); got != "Boot0003 BootNext" && got != "BootNext Boot0003" {
			t.Errorf("armed, the firmware has %s of ours", got)
		}
		u.ok(end())
		if got := u.ours(); len(got) != 0 {
			t.Errorf("%s: the firmware still has %s", name, got)
		}
	}
	for v, want := range map[efivar.Var][]byte{efivar.BootOption(1): windows, efivar.BootOrder: efivar.EncodeNumbers(0, 1, 2)} {
		if b, err := u.fw.Vars.Read(v); err != nil || string(b) != string(want) {
			t.Errorf("%s is %q %v", v.Name, b, err)
		}
	}
}

// TestNextIsStartedOnce goes through what firmware and others do to BootNext
// and to our option between arming and the next boots.
func TestNextIsStartedOnce(t *testing.T) {
	trial := loadertest.Played{ID: loadertest.ID("b"), Trial: true}
	a := loadertest.Played{ID: loadertest.ID("a")}
	for _, c := range []struct {
		name  string
		do    func(u *uefi)
		boots []loadertest.Played // in a row, with nobody of ours between
		tried string              // in the default then
	}{
		{"nothing", func(*uefi) {}, []loadertest.Played{trial, a, a}, "b"},
		{"BootNext is ignored", func(u *uefi) { u.fw.IgnoresNext = true }, []loadertest.Played{a, a}, "b"},
		{"BootNext was deleted", func(u *uefi) { u.set(efivar.BootNext, nil) }, []loadertest.Played{a, a}, "b"},
		{"the option was deleted", func(u *uefi) { u.set(efivar.BootOption(1), nil) }, []loadertest.Played{a, a}, "b"},
		{"the image was deleted", func(u *uefi) { os.RemoveAll(filepath.Join(u.esp, "EFI", trialDir)) }, []loadertest.Played{a, a}, "b"},
		{"the option was put first in the order", func(u *uefi) { u.set(efivar.BootOrder, efivar.EncodeNumbers(1, 0)) }, []loadertest.Played{trial, a, a}, "b"},
		{"the order was deleted", func(u *uefi) {
			u.set(efivar.BootOrder, nil)
			u.write("EFI/BOOT/BOOTX64.EFI", "MZ\x00grub_env_set\x00")
		}, []loadertest.Played{trial, a, a}, "b"},
		{"the trial's environment was lost", func(u *uefi) { os.Remove(filepath.Join(u.esp, "beadm/env")) }, []loadertest.Played{a, a}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUEFI(t)
			l := u.ready("a", "b")
			u.ok(l.Arm(t.Context(), loadertest.ID("b")))
			c.do(u)
			for i, want := range c.boots {
				if got, err := u.play(); err != nil || got != want {
					t.Errorf("boot %d: %+v %v, want %+v", i, got, err, want)
				}
			}
			u.state("a", "", c.tried)
			u.ok(l.ClearTried(t.Context()))
			u.state("a", "", "")
			u.boots("a", false)
		})
	}
	// Firmware that starts an option of ours out of turn, again and again: once
	// the trial's userland was there, it is the default's.
	u := newUEFI(t)
	l := u.ready("a", "b")
	u.ok(l.Arm(t.Context(), loadertest.ID("b")))
	u.fw.KeepsNext = true
	u.boots("b", true)
	u.state("a", "b", "")
	u.ok(l.Disarm(t.Context()))
	u.boots("a", false)
}

// TestNextReplaced: another's BootNext stands in the place of an armed trial's.
// That is left alone, and whatever we write meanwhile, the trial does not count
// as tried later.
func TestNextReplaced(t *testing.T) {
	for name, write := range map[string]func(l *Loader) error{
		"Disarm":     func(l *Loader) error { return l.Disarm(t.Context()) },
		"ClearTried": func(l *Loader) error { return l.ClearTried(t.Context()) },
		"SetDefault": func(l *Loader) error { return l.SetDefault(t.Context(), loadertest.ID("a")) },
	} {
		t.Run(name, func(t *testing.T) {
			u := newUEFI(t)
			u.set(efivar.BootOption(7), u.option("other", `\EFI\other\x.efi`, efivar.OptionActive))
			l := u.ready("a", "b", "c")
			u.ok(l.Arm(t.Context(), loadertest.ID("b")))
			u.set(efivar.BootNext, efivar.EncodeNumbers(7))
			u.state("a", "", "")
			if err := l.Arm(t.Context(), loadertest.ID("c")); be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), "something else") {
				t.Errorf("armed over another's: %v", err)
			}
			u.ok(write(l))
			if b, err := u.fw.Vars.Read(efivar.BootNext); err != nil || string(b) != string(efivar.EncodeNumbers(7)) {
				t.Errorf("another's BootNext is %q %v", b, err)
			}
			u.set(efivar.BootNext, nil) // it was followed
			u.state("a", "", "")
			u.boots("a", false)
		})
	}
}

// TestNextFirmwareThatCannotBeTrusted: nothing is armed, and what is in the
// way is said.
func TestNextFirmwareThatCannotBeTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(u *uefi)
		kind be.Kind
		says string
	}{
		"no variables":          {func(u *uefi) { u.fw.Vars.Absent = true }, be.Unbootable, "not mounted"},
		"variables read-only":   {func(u *uefi) { u.fw.Vars.ReadOnly = true }, be.Unbootable, "read-only"},
		"full":                  {func(u *uefi) { u.fw.Vars.Full = true }, be.Unbootable, "full"},
		"what is deleted stays": {func(u *uefi) { u.fw.Vars.Sticky = true }, be.Unbootable, "for ever"},
		"no GRUB":               {func(u *uefi) { u.write("EFI/debian/grubx64.efi", "MZ another loader") }, be.Unbootable, "no boot option"},
		"no ESP":                {func(u *uefi) { os.Rename(filepath.Join(u.esp, "EFI"), filepath.Join(u.esp, "GONE")) }, be.NoStore, "mount it"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUEFI(t)
			u.ready("a", "b")
			c.do(u)
			err := u.loader(nil).Arm(t.Context(), loadertest.ID("b"))
			if be.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q of kind %d", err, c.says, c.kind)
			}
			u.state("a", "", "")
			u.boots("a", false)
		})
	}
}

// TestNextDisarmedUnread: variables that cannot be read any more leave nobody
// knowing what is armed; the token is taken back without them, and stays so when
// they are there again.
func TestNextDisarmedUnread(t *testing.T) {
	u := newUEFI(t)
	l := u.ready("a", "b")
	u.ok(l.Arm(t.Context(), loadertest.ID("b")))
	u.fw.Vars.Absent = true
	l = u.loader(nil)
	if s, err := l.State(t.Context()); be.KindOf(err) != be.Unbootable {
		t.Fatalf("%+v %v", s, err)
	}
	u.ok(l.Disarm(t.Context()))
	u.state("a", "", "")
	u.fw.Vars.Absent = false
	u.state("a", "", "")
	u.boots("a", false)
}

// TestNextImage: what is started for a trial is what starts this machine.
func TestNextImage(t *testing.T) {
	read := func(u *uefi, name string) string {
		b, _ := os.ReadFile(filepath.Join(u.esp, "EFI", trialDir, name))
		return string(b)
	}
	started := func(u *uefi) string {
		u.t.Helper()
		l := u.ready("a", "b")
		u.ok(l.Arm(t.Context(), loadertest.ID("b")))
		path, err := u.fw.Image()
		u.ok(err)
		return path
	}
	t.Run("newer", func(t *testing.T) {
		u := newUEFI(t)
		l := u.ready("a", "b")
		newer := "MZ newer\x00grub_env_set\x00"
		u.write("EFI/debian/grubx64.efi", newer)
		u.ok(l.Arm(t.Context(), loadertest.ID("b")))
		if got := read(u, "grubx64.efi"); got != newer {
			t.Errorf("the image of a trial is %q", got)
		}
		if got := read(u, "grub.cfg"); !strings.Contains(got, "/beadm/grub.cfg\n") || !strings.HasSuffix(got, "exit\n") {
			t.Errorf("beside it is %q", got)
		}
	})
	t.Run("shim", func(t *testing.T) {
		u := newUEFI(t)
		u.write("EFI/debian/shimx64.efi", "MZ shim")
		u.write("EFI/debian/mmx64.efi", "MZ keys")
		u.set(efivar.BootOption(0), u.option("debian", `\EFI\debian\shimx64.efi`, efivar.OptionActive))
		if got := started(u); got != `\EFI\beadm-trial\shimx64.efi` || read(u, "shimx64.efi") != "MZ shim" || read(u, "grubx64.efi") == "" || read(u, "mmx64.efi") != "" {
			t.Errorf("%s is started", got)
		}
	})
	t.Run("without an option", func(t *testing.T) {
		u := newUEFI(t)
		u.set(efivar.BootOption(0), nil)
		u.set(efivar.BootOrder, nil)
		u.set(efivar.BootCurrent, nil)
		u.write("EFI/BOOT/"+removable[runtime.GOARCH], "MZ removable\x00grub_env_set\x00")
		if got := started(u); got != `\EFI\beadm-trial\`+removable[runtime.GOARCH] {
			t.Errorf("%s is started", got)
		}
	})
	t.Run("in a trial", func(t *testing.T) {
		u := newUEFI(t)
		if got := started(u); got != `\EFI\beadm-trial\grubx64.efi` {
			t.Fatalf("%s is started", got)
		}
		// BootCurrent is ours: the next trial's is still what starts the default.
		u.write("EFI/debian/grubx64.efi", "MZ other\x00grub_env_set\x00")
		u.ok(u.loader(nil).SetDefault(t.Context(), loadertest.ID("b")))
		u.ok(u.loader(nil).Arm(t.Context(), loadertest.ID("a")))
		if got := read(u, "grubx64.efi"); got != "MZ other\x00grub_env_set\x00" {
			t.Errorf("the image of a trial is %q", got)
		}
	})
}

// TestNextOnOlderConfiguration: one that knows nothing of the firmware's token
// still takes GRUB's own.
func TestNextOnOlderConfiguration(t *testing.T) {
	u := newUEFI(t)
	u.ready("a", "b")
	text, _, _ := strings.Cut(string(configText("0000-0000", 3)), sealMark)
	old := seal(strings.Replace(text, "configuration, version 2.", "configuration, version 1.", 1))
	put(t, u.loader(nil).path("grub.cfg"), old)
	if err := u.loader(nil).Arm(t.Context(), loadertest.ID("b")); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("%v", err)
	}
	cfg := testConfig(u.esp, nil)
	u.ok(New(cfg).Arm(t.Context(), loadertest.ID("b")))
	u.ok(New(cfg).Disarm(t.Context()))
	u.ready("a")
	u.ok(u.loader(nil).Arm(t.Context(), loadertest.ID("b")))
	u.boots("b", true)
}

// TestNextDangling: our option was deleted while BootNext leads to it. Nothing
// is armed, and can be again.
func TestNextDangling(t *testing.T) {
	u := newUEFI(t)
	l := u.ready("a", "b")
	u.ok(l.Arm(t.Context(), loadertest.ID("b")))
	u.set(efivar.BootOption(1), nil)
	u.state("a", "", "")
	u.ok(l.Arm(t.Context(), loadertest.ID("b")))
	u.state("a", "b", "")
	u.boots("b", true)
	u.boots("a", false)
}

// TestNextTidy takes away what a cut left in the firmware.
func TestNextTidy(t *testing.T) {
	u := newUEFI(t)
	l := u.ready("a", "b")
	u.ok(l.Arm(t.Context(), loadertest.ID("b")))
	u.ok(l.Disarm(t.Context()))
	u.set(efivar.BootOption(5), u.option("beadm trial", `\EFI\beadm-trial\grubx64.efi`, efivar.OptionActive))
	u.set(efivar.BootNext, efivar.EncodeNumbers(5))
	u.set(efivar.BootOrder, efivar.EncodeNumbers(5, 0))
	u.boots("a", false)
	u.set(efivar.BootNext, efivar.EncodeNumbers(5))
	u.ok(l.Tidy(t.Context()))
	if got := u.ours(); len(got) != 0 {
		t.Errorf("the firmware still has %s", got)
	}
	if b, err := u.fw.Vars.Read(efivar.BootOrder); err != nil || string(b) != string(efivar.EncodeNumbers(0)) {
		t.Errorf("the order is %q %v", b, err)
	}
}

// TestNextOnAnotherFileSystem: GRUB's files are not on the ESP, but its call of
// them is, and goes there with the modules it needs. A setup that has GRUB take
// the token takes the image of trials away.
func TestNextOnAnotherFileSystem(t *testing.T) {
	u := newUEFI(t)
	stock := "search.fs_uuid x root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
	u.write("EFI/debian/grub.cfg", stock)
	cfg := u.loader(nil).cfg
	cfg.Dir, cfg.Reached, cfg.Hook = memory(t), DefaultReached, true
	l := New(cfg)
	for range 2 {
		u.ok(l.Install(t.Context(), loadertest.Entry("a", "A")))
	}
	u.ok(l.Put(t.Context(), loadertest.Entry("b", "B")))
	u.ok(l.Arm(t.Context(), loadertest.ID("b")))
	if b, _ := os.ReadFile(filepath.Join(u.esp, "EFI/debian/grub.cfg")); string(b) != hookText(medium{uuid: "0000-0000"})+stock {
		t.Errorf("the stub is %q", b)
	}
	if text := hookText(medium{uuid: "x", modules: []string{"lvm"}}); !strings.Contains(text, "\ninsmod lvm\nif search ") {
		t.Errorf("the call from a logical volume is %q", text)
	}
	b, err := simgrub.Machine{Dir: cfg.Dir, ReadOnly: true, CmdPath: "(hd0,gpt1)/EFI/beadm-trial"}.PowerOn()
	if err != nil || b.ID != loadertest.ID("b") || !b.Trial {
		t.Errorf("boots %+v %v", b, err)
	}
	cfg.Token = TokenEnv
	u.ok(New(cfg).Install(t.Context(), loadertest.Entry("a", "A")))
	if _, err := os.Stat(filepath.Join(u.esp, "EFI", trialDir, "grubx64.efi")); err != nil {
		t.Errorf("what is armed lost its image: %v", err)
	}
	u.ok(New(cfg).Disarm(t.Context()))
	u.ok(New(cfg).Install(t.Context(), loadertest.Entry("a", "A")))
	if list, err := os.ReadDir(filepath.Join(u.esp, "EFI", trialDir)); err == nil {
		t.Errorf("still there: %v", list)
	}
}
