package grub

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/loadertest"
)

// TestVMTable runs the truth table on real GRUB, with the bytes that Install
// and Put wrote.
func TestVMTable(t *testing.T) {
	needVM(t)
	for _, row := range loadertest.Rows() {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lay(t, dir, row)
			m := build(t, dir)
			m.readOnly = row.ReadOnly
			text := m.power(t)
			if got := played(text); !row.Right(got) {
				t.Errorf("boots %+v, want %+v\n%s", got, row.Want, text)
			}
			if slices.ContainsFunc(row.NoLoad, func(id string) bool { return bytes.Contains(row.Env, []byte("beadm_trial="+id)) }) {
				if strings.Count(text, "GRUB loading") != 2 {
					t.Errorf("a trial that cannot be loaded did not reset the machine\n%s", text)
				}
			}
			if row.After == nil {
				return
			}
			if after := m.read(t, "beadm/env"); !bytes.Equal(after, row.After) {
				t.Errorf("environment is %q, want %q", after, row.After)
			}
		})
	}
}

// TestVMTrialIsOnce arms, boots, and boots again, the power cut between.
func TestVMTrialIsOnce(t *testing.T) {
	needVM(t)
	t.Parallel()
	m := installed(t, func(l *Loader) {
		if err := l.Arm(t.Context(), loadertest.ID("b")); err != nil {
			t.Fatal(err)
		}
	})
	for _, want := range []loadertest.Played{{ID: loadertest.ID("b"), Trial: true}, {ID: loadertest.ID("a")}, {ID: loadertest.ID("a")}} {
		if text := m.power(t); played(text) != want {
			t.Errorf("want %+v\n%s", want, text)
		}
	}
}

// TestVMPick calls up the menu while a trial is armed and chooses the default:
// the trial's token is gone, and what is started is told whose it was.
func TestVMPick(t *testing.T) {
	needVM(t)
	t.Parallel()
	m := installed(t, func(l *Loader) {
		put(t, l.path("grub.cfg"), configText(fatUUID, 20))
		if err := l.Arm(t.Context(), loadertest.ID("b")); err != nil {
			t.Fatal(err)
		}
	})
	m.keys = []keys{{"19", "\x1b"}, {"GNU GRUB", "\x0e\r"}}
	text := m.power(t)
	if want := (loadertest.Played{ID: loadertest.ID("a")}); played(text) != want {
		t.Errorf("want %+v\n%s", want, text)
	}
	if !strings.Contains(strings.ReplaceAll(strings.ReplaceAll(text, "\r", ""), "\n", ""), boot.ArgPassed+"="+loadertest.ID("b")) {
		t.Errorf("the default is not told of the trial\n%s", text)
	}
	m.keys = nil
	text = m.power(t)
	if want := (loadertest.Played{ID: loadertest.ID("a")}); played(text) != want || strings.Contains(text, boot.ArgPassed) {
		t.Errorf("once more: want %+v\n%s", want, text)
	}
}

// TestVMArguments holds the kernel's command line against the entry.
func TestVMArguments(t *testing.T) {
	needVM(t)
	t.Parallel()
	e := loadertest.Entry("a", "A")
	e.Args = []string{"quiet", "a=$prefix", "b={x,y};z&|<>", "c=#1", "d=*?[x]", "e=~!%^()", "console=ttyS0,115200n8"}
	m := installed(t, func(l *Loader) {
		if err := l.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	})
	text := m.power(t)
	_, line, _ := strings.Cut(text, "KERNEL ")
	line, _, _ = strings.Cut(line, "LOADED")
	got := strings.Join(strings.Fields(line), " ")
	want := "(hd0,msdos1)/roots/" + e.ID + "/vmlinuz " + strings.Join(append(append(e.Root.Args, e.Args...), boot.ArgBE+"="+e.ID), " ")
	if got != want {
		t.Errorf("kernel is given %q, want %q", got, want)
	}
}

// TestVMTitles has every hostile title in one menu: GRUB still boots the
// default, then the trial, and the restart at the end stays the last.
func TestVMTitles(t *testing.T) {
	needVM(t)
	t.Parallel()
	m := installed(t, func(l *Loader) {
		for i, title := range loadertest.HostileTitles {
			e := loadertest.Entry("a", title)
			e.ID = "bffffffff" + strings.Repeat("0", 2) + string("0123456789abcdef"[i/16]) + string("0123456789abcdef"[i%16])
			if err := l.Put(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		for letter, title := range map[string]string{"a": loadertest.ID("b"), "b": loadertest.ID("a")} {
			if err := l.Put(t.Context(), loadertest.Entry(letter, title)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Arm(t.Context(), loadertest.ID("b")); err != nil {
			t.Fatal(err)
		}
	})
	for _, want := range []loadertest.Played{{ID: loadertest.ID("b"), Trial: true}, {ID: loadertest.ID("a")}} {
		text := m.power(t)
		if played(text) != want || strings.Contains(text, "error") {
			t.Errorf("want %+v\n%s", want, text)
		}
	}
}

// TestVMNothingBoots goes through every entry, hostile titles and all, and
// then restarts.
func TestVMNothingBoots(t *testing.T) {
	needVM(t)
	t.Parallel()
	n := 0
	dir := t.TempDir()
	lay(t, dir, loadertest.Row{Entries: []string{loadertest.ID("a")}, NoLoad: []string{loadertest.ID("a")}, Env: loadertest.Rows()[0].Env, Baked: []byte(loadertest.ID("a"))})
	l := New(testConfig(dir, nil))
	for i := range 4 {
		e := loadertest.Entry("c", "missing")
		e.ID = "bccccccccccc" + string("0123456789abcdef"[i])
		e.Root.Prefix = "/nowhere/" + e.ID
		if err := l.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		n++
	}
	m := build(t, dir)
	m.until = "Restarting in 30 seconds"
	text := m.power(t)
	if got := strings.Count(text, "KERNEL "); got != n+1 {
		t.Errorf("%d entries were tried, want %d\n%s", got, n+1, text)
	}
}

// TestVMHook lets a stub as Debian has it on the ESP call our configuration,
// and go on as before when that is gone.
func TestVMHook(t *testing.T) {
	needVM(t)
	t.Parallel()
	for _, gone := range []bool{false, true} {
		dir := t.TempDir()
		lay(t, dir, loadertest.Rows()[1])
		stub := filepath.Join(dir, "EFI", "debian", "grub.cfg")
		if err := os.MkdirAll(filepath.Dir(stub), 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "EFI", "debian", "next.cfg"), []byte("echo STOCK\nhalt\n"))
		if err := os.WriteFile(stub, []byte("configfile ($root)/EFI/debian/next.cfg\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		l := New(testConfig(dir, nil))
		for range 2 {
			if err := l.hook(medium{uuid: fatUUID}); err != nil {
				t.Fatal(err)
			}
		}
		if b, _ := os.ReadFile(stub); string(b) != hookText(medium{uuid: fatUUID})+"configfile ($root)/EFI/debian/next.cfg\n" {
			t.Errorf("stub is %q", b)
		}
		if gone {
			if err := os.Remove(l.path("grub.cfg")); err != nil {
				t.Fatal(err)
			}
		}
		m := build(t, dir)
		m.start(t, strings.ReplaceAll(startText, "/beadm/grub.cfg", "/EFI/debian/grub.cfg"))
		text := m.power(t)
		if gone != strings.Contains(text, "STOCK") || !gone && played(text) != loadertest.Rows()[1].Want {
			t.Errorf("gone %v:\n%s", gone, text)
		}
	}
}

// installed is a machine with the entries a (default) and b, after change.
func installed(t *testing.T, change func(l *Loader)) *machine {
	t.Helper()
	dir := t.TempDir()
	row := loadertest.Rows()[0]
	lay(t, dir, row)
	change(New(testConfig(dir, nil)))
	return build(t, dir)
}
