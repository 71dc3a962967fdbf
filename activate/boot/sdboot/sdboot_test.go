package sdboot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/bls"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/sdboot/simsdboot"
	"beadm/activate/boot/simfirmware"
	"beadm/be"
)

func atOnce(string) error { return nil }

// world is a machine that systemd-boot has started, and roots with kernels.
type world struct {
	t     *testing.T
	esp   string
	roots string
	vars  simfirmware.Vars
	image func(id string) string // the kernel of a boot environment
}

// memory is a directory for the life of the test, where there is one in which
// fsync costs nothing: the suite cuts at some thousand places.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "beadm-sdboot-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, esp: memory(t), roots: memory(t), vars: simfirmware.Vars{Dir: memory(t)},
		image: func(id string) string { return "MZ kernel of " + id }}
	if err := w.machine().Up(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) machine() simsdboot.Machine { return simsdboot.Machine{Dir: w.esp, Vars: w.vars} }

func (w *world) loader(step func(string) error) *Loader {
	return New(Config{Dir: w.esp, Variables: w.vars, PartUUID: func(string) (string, error) { return simsdboot.PartUUID, nil },
		Disk: durable.Disk{Step: step, Settle: atOnce}})
}

// write makes a file below dir.
func (w *world) write(dir, name, content string) {
	w.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// in gives the entry a root with a kernel of its own.
func (w *world) in(e boot.Entry) boot.Entry {
	e.Dir = filepath.Join(w.roots, e.ID)
	if boot.ValidID(e.ID) {
		w.write(e.Dir, "vmlinuz", w.image(e.ID))
		w.write(e.Dir, "initrd.img", "an initrd that all share")
	}
	return e
}

func (w *world) ready(letters ...string) *Loader {
	w.t.Helper()
	l := w.loader(nil)
	for i, letter := range letters {
		e := w.in(loadertest.Entry(letter, "BE "+letter))
		err := l.Put
		if i == 0 {
			err = l.Install
		}
		if err := err(w.t.Context(), e); err != nil {
			w.t.Fatal(err)
		}
	}
	return l
}

// play is PowerOn in the suite's words.
func (w *world) play() (loadertest.Played, error) {
	b, err := w.machine().PowerOn()
	return playedOptions(b.Options), err
}

func playedOptions(options string) loadertest.Played {
	id, trial := boot.Cmdline([]byte(options))
	return loadertest.Played{ID: id, Trial: trial}
}

// rooted gives every entry its root.
type rootedLoader struct {
	*Loader
	w *world
}

func (l rootedLoader) Install(ctx context.Context, e boot.Entry) error {
	return l.Loader.Install(ctx, l.w.in(e))
}
func (l rootedLoader) Put(ctx context.Context, e boot.Entry) error {
	return l.Loader.Put(ctx, l.w.in(e))
}

func TestContract(t *testing.T) {
	loadertest.Run(t, func(t *testing.T) loadertest.Fixture {
		w := newWorld(t)
		return loadertest.Fixture{
			Loader: func(step func(string) error) boot.Loader { return rootedLoader{w.loader(step), w} },
			Play:   w.play,
		}
	})
}

func kind(t *testing.T, err error, want be.Kind, says string) {
	t.Helper()
	if be.KindOf(err) != want || !strings.Contains(err.Error(), says) {
		t.Errorf("error %v is of kind %d, want %d and %q", err, be.KindOf(err), want, says)
	}
}

func TestProbeSaysWhyNoTrialCanBeConsumed(t *testing.T) {
	a, b := loadertest.ID("a"), loadertest.ID("b")
	for name, c := range map[string]struct {
		do   func(w *world)
		kind be.Kind
		says string
	}{
		"another loader":        {func(w *world) { w.vars.SetText(efivar.Info, "GRUB 2.12") }, be.NoStore, "not started by systemd-boot but by GRUB 2.12"},
		"no loader's name":      {func(w *world) { w.vars.Delete(efivar.Info) }, be.NoStore, "not started by systemd-boot"},
		"another ESP":           {func(w *world) { w.vars.SetText(efivar.PartUUID, "deadbeef") }, be.Unbootable, `from the partition "deadbeef"`},
		"no variables":          {func(w *world) { w.vars.Absent = true }, be.Unbootable, "not mounted"},
		"variables read-only":   {func(w *world) { w.vars.ReadOnly = true }, be.Unbootable, "read-only"},
		"another default":       {func(w *world) { w.vars.SetText(efivar.Default, "debian-6.1.conf") }, be.Unbootable, "LoaderEntryDefault"},
		"another default of us": {func(w *world) { w.vars.SetText(efivar.Default, entryName(b)) }, be.Unbootable, "LoaderEntryDefault"},
		"another preferred":     {func(w *world) { w.vars.SetText(efivar.Preferred, "x.conf") }, be.Unbootable, "LoaderEntryPreferred"},
		"preferred in the file": {func(w *world) { w.write(w.esp, "loader/loader.conf", "default "+entryName(a)+"\npreferred x\n") }, be.Unbootable, "preferred"},
		"default preferred": {func(w *world) {
			w.write(w.esp, "loader/loader.conf", "default "+entryName(a)+"\npreferred "+entryName(a)+"\n")
		}, be.Unbootable, "no trial could be confirmed; take that line out"},
		"no default":             {func(w *world) { w.write(w.esp, "loader/loader.conf", "timeout 3\n") }, be.Unbootable, "no default"},
		"another file's default": {func(w *world) { w.write(w.esp, "loader/loader.conf", "default debian\n") }, be.Unbootable, "no default"},
		"record damaged":         {func(w *world) { w.write(w.esp, "beadm/trial", "x") }, be.Unbootable, "damaged"},
		"entry gone":             {func(w *world) { os.Remove(filepath.Join(w.esp, "loader/entries", entryName(a))) }, be.Unbootable, "no default"},
		"no such feature":        {func(w *world) { w.vars.Write(efivar.Features, []byte("\x07\x00\x00\x00\x00\x00\x00\x00")) }, be.Unbootable, "240"},
	} {
		w := newWorld(t)
		w.ready("a", "b")
		c.do(w)
		l := w.loader(nil)
		before := w.listing()
		kind(t, l.Probe(t.Context()), c.kind, c.says)
		if err := l.Arm(t.Context(), b); err == nil {
			t.Errorf("%s: armed", name)
		}
		if after := w.listing(); after != before {
			t.Errorf("%s: refused, and changed:\n%s\nwas\n%s", name, after, before)
		}
	}
}

// listing is every file and variable with its content.
func (w *world) listing() string {
	var out strings.Builder
	for _, dir := range []string{w.esp, w.vars.Dir} {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				b, _ := os.ReadFile(path)
				out.WriteString(path + " " + string(b) + "\n")
			}
			return err
		})
	}
	return out.String()
}

func TestInstallRefusesWhereItWouldNotBeRead(t *testing.T) {
	for _, v := range []efivar.Var{efivar.Info, efivar.PartUUID} {
		w := newWorld(t)
		w.vars.SetText(v, "other")
		before := w.listing()
		if err := w.loader(nil).Install(t.Context(), w.in(loadertest.Entry("a", "A"))); err == nil {
			t.Errorf("%s: installed", v.Name)
		}
		if after := w.listing(); after != before {
			t.Errorf("%s: refused, and wrote:\n%s", v.Name, after)
		}
	}
}

func TestInstallKeepsWhatIsOthers(t *testing.T) {
	w := newWorld(t)
	w.write(w.esp, "loader/loader.conf", "timeout 7\ndefault debian-*\nconsole-mode max\n")
	w.write(w.esp, "loader/entries/debian.conf", "title Debian\nlinux /debian/linux\n")
	w.write(w.esp, "debian/linux", "MZ")
	w.ready("a")
	b, _ := os.ReadFile(filepath.Join(w.esp, "loader/loader.conf"))
	want := "timeout 7\ndefault beadm-baaaaaaaaaaaa.conf\nconsole-mode max\n# before beadm: default debian-*\n"
	if string(b) != want {
		t.Errorf("loader.conf is %q, want %q", b, want)
	}
	if b, _ := os.ReadFile(filepath.Join(w.esp, "loader/entries/debian.conf")); string(b) != "title Debian\nlinux /debian/linux\n" {
		t.Errorf("another's entry is %q", b)
	}
}

func TestFirmwareThatCannotBeTrusted(t *testing.T) {
	a, b := loadertest.ID("a"), loadertest.ID("b")
	t.Run("full", func(t *testing.T) {
		w := newWorld(t)
		w.ready("a", "b")
		w.vars.Full = true
		kind(t, w.loader(nil).Arm(t.Context(), b), be.Unbootable, "full")
		w.vars.Full = false
		if s, err := w.loader(nil).State(t.Context()); err != nil || s != (boot.State{Default: a}) {
			t.Errorf("state is %+v %v", s, err)
		}
	})
	t.Run("full after the rehearsal", func(t *testing.T) {
		w := newWorld(t)
		w.ready("a", "b")
		l := New(Config{Dir: w.esp, Variables: noToken{w.vars}, PartUUID: func(string) (string, error) { return simsdboot.PartUUID, nil }, Disk: durable.Disk{Settle: atOnce}})
		kind(t, l.Arm(t.Context(), b), be.Unbootable, "token")
		if s, err := w.loader(nil).State(t.Context()); err != nil || s != (boot.State{Default: a}) {
			t.Errorf("state is %+v %v", s, err)
		}
	})
	t.Run("what is deleted stays", func(t *testing.T) {
		w := newWorld(t)
		w.ready("a", "b")
		w.vars.Sticky = true
		kind(t, w.loader(nil).Arm(t.Context(), b), be.Unbootable, "for ever")
		w.vars.Sticky = false
		if err := w.loader(nil).Arm(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		w.vars.Sticky = true
		if p, err := w.play(); err != nil || p != (loadertest.Played{ID: b, Trial: true}) {
			t.Fatalf("boots %+v %v", p, err)
		}
		// In the trial: the token is still there, and must not start it again.
		if s, err := w.loader(nil).State(t.Context()); err != nil || s.Trial != b {
			t.Errorf("state is %+v %v", s, err)
		}
		if err := w.loader(nil).Disarm(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if p, err := w.play(); err != nil || p != (loadertest.Played{ID: a}) {
				t.Errorf("boots %+v %v, want the default", p, err)
			}
		}
	})
}

// noToken takes every variable but the token.
type noToken struct{ simfirmware.Vars }

func (v noToken) Write(name efivar.Var, data []byte) error {
	if name == efivar.OneShot {
		return errors.New("no space left on device")
	}
	return v.Vars.Write(name, data)
}

// TestDefaultThatAVariableOverrides: what was chosen in the menu or by bootctl
// stands before loader.conf, until somebody asks us for another default.
func TestDefaultThatAVariableOverrides(t *testing.T) {
	a, b := loadertest.ID("a"), loadertest.ID("b")
	w := newWorld(t)
	l := w.ready("a", "b")
	w.vars.SetText(efivar.Default, strings.ToUpper(entryName(b)))
	if s, err := l.State(t.Context()); err != nil || s.Default != b {
		t.Errorf("state is %+v %v", s, err)
	}
	for _, id := range []string{a, b} {
		kind(t, l.Remove(t.Context(), id), be.InUse, "by default")
	}
	w.vars.Sticky = true
	kind(t, w.loader(nil).SetDefault(t.Context(), a), be.Unbootable, "LoaderEntryDefault")
	w.vars.Sticky = false
	if err := w.loader(nil).SetDefault(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if s, err := w.loader(nil).State(t.Context()); err != nil || s.Default != a {
		t.Errorf("state is %+v %v", s, err)
	}
	if p, err := w.play(); err != nil || p.ID != a {
		t.Errorf("boots %+v %v", p, err)
	}
	if err := w.loader(nil).Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPreferredInTheFile: systemd-boot takes `preferred` before `default`, and
// beadm does not take away what somebody wrote there.
func TestPreferredInTheFile(t *testing.T) {
	a, b := loadertest.ID("a"), loadertest.ID("b")
	for _, preferred := range []string{entryName(a), "windows.conf", namePrefix + "*"} {
		w := newWorld(t)
		l := w.ready("a", "b")
		if err := l.Arm(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		w.write(w.esp, "loader/loader.conf", "default "+entryName(a)+"\npreferred "+preferred+"\n")
		before := w.listing()
		kind(t, l.SetDefault(t.Context(), b), be.Unbootable, "`preferred "+preferred+"` in "+l.confPath())
		if after := w.listing(); after != before {
			t.Errorf("%s: refused, and changed:\n%s\nwas\n%s", preferred, after, before)
		}
	}
	w := newWorld(t)
	l := w.ready("a", "b")
	w.write(w.esp, "loader/loader.conf", "default "+entryName(a)+"\npreferred "+strings.ToUpper(entryName(b))+"\n")
	if err := l.SetDefault(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if s, err := l.State(t.Context()); err != nil || s.Default != b {
		t.Errorf("state is %+v %v", s, err)
	}
	// Not so a variable, which SetDefault deletes.
	w.write(w.esp, "loader/loader.conf", "default "+entryName(b)+"\n")
	w.vars.SetText(efivar.Preferred, entryName(b))
	if err := l.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if err := l.Arm(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := l.SetDefault(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if p, err := w.play(); err != nil || p.ID != a {
		t.Errorf("boots %+v %v", p, err)
	}
}

// TestTokenReplacedByAForeignOne: bootctl set-oneshot or systemctl reboot
// --boot-loader-entry put another token in place of an armed trial's. Whatever
// beadm writes while that is there, the trial does not count as tried later.
func TestTokenReplacedByAForeignOne(t *testing.T) {
	a, b, c := loadertest.ID("a"), loadertest.ID("b"), loadertest.ID("c")
	for name, write := range map[string]func(w *world, l *Loader) error{
		"Disarm":     func(_ *world, l *Loader) error { return l.Disarm(t.Context()) },
		"ClearTried": func(_ *world, l *Loader) error { return l.ClearTried(t.Context()) },
		"Tidy":       func(_ *world, l *Loader) error { return l.Tidy(t.Context()) },
		"Put":        func(w *world, l *Loader) error { return l.Put(t.Context(), w.in(loadertest.Entry("b", "B"))) },
		"Remove":     func(_ *world, l *Loader) error { return l.Remove(t.Context(), c) },
		"Arm, which fails": func(w *world, _ *Loader) error {
			w.vars.Sticky = true
			defer func() { w.vars.Sticky = false }()
			if err := w.loader(nil).Arm(t.Context(), c); err == nil {
				return errors.New("armed")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := w.ready("a", "b", "c")
			w.write(w.esp, "foreign/linux", w.image("foreign"))
			w.write(w.esp, "loader/entries/foreign.conf", "title Foreign\nsort-key zzz\nlinux /foreign/linux\noptions foreign=1\n")
			if err := l.Arm(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			w.vars.SetText(efivar.OneShot, "foreign.conf")
			idle := boot.State{Default: a}
			state := func(when string) {
				t.Helper()
				if s, err := w.loader(nil).State(t.Context()); err != nil || s != idle {
					t.Errorf("%s: state is %+v %v", when, s, err)
				}
			}
			state("replaced")
			if err := write(w, l); err != nil {
				t.Fatal(err)
			}
			if v := w.vars.Text(efivar.OneShot); v != "foreign.conf" {
				t.Errorf("another's token is %q now", v)
			}
			if got, err := w.machine().PowerOn(); err != nil || got.Entry != "foreign.conf" {
				t.Errorf("boots %+v %v", got, err)
			}
			state("behind it")
			if p, err := w.play(); err != nil || p.ID != a {
				t.Errorf("boots %+v %v", p, err)
			}
			state("back in the default")
		})
	}
	// One that is armed in its place is one like any other.
	w := newWorld(t)
	l := w.ready("a", "b", "c")
	for _, id := range []string{b, c} {
		w.vars.SetText(efivar.OneShot, "foreign.conf")
		if err := l.Arm(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := w.play(); err != nil || p != (loadertest.Played{ID: c, Trial: true}) {
		t.Errorf("boots %+v %v", p, err)
	}
	if s, err := l.State(t.Context()); err != nil || s != (boot.State{Default: a, Tried: c}) {
		t.Errorf("state is %+v %v", s, err)
	}
}

// TestUnsettled holds what a cut between token and record says later.
func TestUnsettled(t *testing.T) {
	a, b := loadertest.ID("a"), loadertest.ID("b")
	armed, tried, idle := boot.State{Default: a, Trial: b}, boot.State{Default: a, Tried: b}, boot.State{Default: a}
	for _, c := range []struct {
		name   string
		before string
		state  boot.State // after the cut
		inNext boot.State // in what boots then
		after  boot.State // once the default has booted again
	}{
		{"arm, before the token", "before set LoaderEntryOneShot", idle, idle, idle},
		{"arm, behind the token", "after set LoaderEntryOneShot", armed, tried, idle},
		{"disarm, before the token is gone", "before delete LoaderEntryOneShot", armed, tried, idle},
		{"disarm, behind", "after delete LoaderEntryOneShot", idle, idle, idle},
	} {
		w := newWorld(t)
		w.ready("a", "b")
		disarm := strings.HasPrefix(c.name, "disarm")
		if disarm {
			if err := w.loader(nil).Arm(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		off := false
		l := w.loader(func(effect string) error {
			if off = off || effect == c.before; off {
				return errors.New("cut")
			}
			return nil
		})
		var err error
		if disarm {
			err = l.Disarm(t.Context())
		} else {
			err = l.Arm(t.Context(), b)
		}
		if err == nil {
			t.Fatalf("%s: no cut", c.name)
		}
		for i, want := range []boot.State{c.state, c.inNext, c.after} {
			if got, err := w.loader(nil).State(t.Context()); err != nil || got != want {
				t.Errorf("%s: state %d is %+v %v, want %+v", c.name, i, got, err, want)
			}
			if _, err := w.play(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestWithoutVariablesNothingIsConcluded: a token that cannot be seen is
// neither there nor consumed.
func TestWithoutVariablesNothingIsConcluded(t *testing.T) {
	w := newWorld(t)
	l := w.ready("a", "b")
	if err := l.Arm(t.Context(), loadertest.ID("b")); err != nil {
		t.Fatal(err)
	}
	before := w.listing()
	w.vars.Absent = true
	l = w.loader(nil)
	s, err := l.State(t.Context())
	kind(t, err, be.Unbootable, "LoaderEntryOneShot")
	if s.Tried != "" {
		t.Errorf("state is %+v", s)
	}
	for _, err := range []error{l.Disarm(t.Context()), l.ClearTried(t.Context()), l.SetDefault(t.Context(), loadertest.ID("b")), l.Remove(t.Context(), loadertest.ID("b"))} {
		kind(t, err, be.Unbootable, "LoaderEntryOneShot")
	}
	if after := w.listing(); after != before {
		t.Errorf("changed:\n%s\nwas\n%s", after, before)
	}
}

func (w *world) kernels() []string {
	list, err := os.ReadDir(filepath.Join(w.esp, "beadm/kernels"))
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestKernelsAreSharedByContentAndGoWithTheLast(t *testing.T) {
	w := newWorld(t)
	l := w.ready("a", "b")
	if k := w.kernels(); len(k) != 3 {
		t.Errorf("two kernels and one initrd are %q", k)
	}
	// b gets a's kernel.
	e := w.in(loadertest.Entry("b", "B"))
	w.write(e.Dir, "vmlinuz", "MZ kernel of "+loadertest.ID("a"))
	if err := l.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if k := w.kernels(); len(k) != 2 {
		t.Errorf("one kernel and one initrd are %q", k)
	}
	if err := l.Remove(t.Context(), loadertest.ID("b")); err != nil {
		t.Fatal(err)
	}
	if k := w.kernels(); len(k) != 2 {
		t.Errorf("a's kernel and initrd are %q", k)
	}
	// What another's entry names stays.
	w.write(w.esp, "beadm/kernels/linux-other", "MZ")
	w.write(w.esp, "beadm/kernels/linux-nobody", "MZ")
	w.write(w.esp, "loader/entries/mine.conf", "linux /beadm/kernels/linux-other\n")
	if err := l.Put(t.Context(), w.in(loadertest.Entry("a", "A"))); err != nil {
		t.Fatal(err)
	}
	if k := w.kernels(); !slices.Contains(k, "linux-other") || slices.Contains(k, "linux-nobody") {
		t.Errorf("they are %q", k)
	}
}

func TestLeftoversOfACutGoAndOthersStay(t *testing.T) {
	w := newWorld(t)
	l := w.ready("a", "b")
	ours := []string{"loader/entries/" + entryName(loadertest.ID("c")) + ".new", "loader/entries/" + trialName(loadertest.ID("b")) + ".new",
		"beadm/kernels/linux-1.new", "beadm/trials/x.conf.new"}
	theirs := []string{"loader/entries/debian.conf.new", "loader/entries/beadm-mine.conf.new", "loader/other.new"}
	for _, name := range append(ours, theirs...) {
		w.write(w.esp, name, "half")
	}
	if err := l.Remove(t.Context(), loadertest.ID("b")); err != nil {
		t.Fatal(err)
	}
	for i, name := range append(ours, theirs...) {
		_, err := os.Stat(filepath.Join(w.esp, name))
		if gone := errors.Is(err, fs.ErrNotExist); gone != (i < len(ours)) {
			t.Errorf("%s: gone %v", name, gone)
		}
	}
}

func TestWhatIsDamagedIsNotStarted(t *testing.T) {
	a, b := loadertest.ID("a"), loadertest.ID("b")
	for name, damage := range map[string]func(w *world){
		"the kernel of the trial": func(w *world) {
			text, _ := os.ReadFile(filepath.Join(w.esp, "loader/entries", entryName(b)))
			w.write(w.esp, bls.ParseEntry(text).Linux, "MZ other")
		},
		"the kernel of the default": func(w *world) {
			text, _ := os.ReadFile(filepath.Join(w.esp, "loader/entries", entryName(a)))
			w.write(w.esp, bls.ParseEntry(text).Linux, "MZ other")
		},
		"the initrd": func(w *world) {
			for _, k := range w.kernels() {
				if strings.HasPrefix(k, "initrd") {
					os.Remove(filepath.Join(w.esp, "beadm/kernels", k))
				}
			}
		},
		"the entry": func(w *world) {
			p := filepath.Join(w.esp, "loader/entries", entryName(b))
			text, _ := os.ReadFile(p)
			os.WriteFile(p, []byte(strings.ReplaceAll(string(text), "quiet", "loud")), 0o644)
		},
	} {
		w := newWorld(t)
		l := w.ready("a", "b")
		damage(w)
		kind(t, l.Arm(t.Context(), b), be.Unbootable, "")
		if l.CheckEntryWhole(t.Context(), a, be.RootRef{}) == nil && l.CheckEntryWhole(t.Context(), b, be.RootRef{}) == nil {
			t.Errorf("%s: it is not noticed before", name)
		}
		// Put mends it.
		for _, letter := range []string{"a", "b"} {
			if err := l.Put(t.Context(), w.in(loadertest.Entry(letter, "BE "+letter))); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := l.Arm(t.Context(), b); err != nil {
			t.Errorf("%s: after Put: %v", name, err)
		}
	}
}

// An argument that would keep a fault of the trial from its end is the boot
// environment's in every other boot.
func TestTrialLeavesArguments(t *testing.T) {
	e := loadertest.Entry("a", "A")
	e.Args = []string{"quiet", "nowatchdog"}
	for _, trial := range []bool{false, true} {
		text, err := entryText(e, files{}, trial)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), " quiet ") || strings.Contains(string(text), " nowatchdog ") == trial {
			t.Errorf("trial: %v: %s", trial, text)
		}
	}
}

func TestPutRefusesWhatCannotBoot(t *testing.T) {
	for name, spoil := range map[string]func(w *world, e *boot.Entry){
		"no kernel":    func(w *world, e *boot.Entry) { os.Remove(filepath.Join(e.Dir, "vmlinuz")) },
		"empty initrd": func(w *world, e *boot.Entry) { w.write(e.Dir, "initrd.img", "") },
		"no EFI image": func(w *world, e *boot.Entry) { w.write(e.Dir, "vmlinuz", "\x1f\x8b gzip") },
		"relative":     func(w *world, e *boot.Entry) { e.Kernel = "vmlinuz" },
		"a link": func(w *world, e *boot.Entry) {
			os.Remove(filepath.Join(e.Dir, "vmlinuz"))
			os.Symlink("/etc/passwd", filepath.Join(e.Dir, "vmlinuz"))
		},
		"newline":          func(w *world, e *boot.Entry) { e.Args = []string{"a\nlinux /evil"} },
		"blank":            func(w *world, e *boot.Entry) { e.TrialArgs = []string{"a b"} },
		"end of arguments": func(w *world, e *boot.Entry) { e.Args = []string{"--"} },
		"too long":         func(w *world, e *boot.Entry) { e.Args = []string{strings.Repeat("x", 1900)} },
	} {
		w := newWorld(t)
		l := w.ready("a")
		before := w.listing()
		e := w.in(loadertest.Entry("b", "B"))
		w.write(e.Dir, "vmlinuz", "MZ new")
		spoil(w, &e)
		if err := l.Put(t.Context(), e); be.KindOf(err) != be.Unbootable {
			t.Errorf("%s: %v", name, err)
		}
		if ids, err := l.Entries(t.Context()); err != nil || len(ids) != 1 {
			t.Errorf("%s: entries are %q %v", name, ids, err)
		}
		if after := w.listing(); after != before {
			t.Errorf("%s: refused, and wrote:\n%s", name, after)
		}
	}
}

func TestFullESP(t *testing.T) {
	w := newWorld(t)
	l := w.ready("a")
	before := w.listing()
	full := New(Config{Dir: w.esp, Variables: w.vars, Disk: durable.Disk{Settle: atOnce},
		PartUUID: func(string) (string, error) { return simsdboot.PartUUID, nil },
		Free:     func(string) (int64, error) { return 3 << 19, nil }})
	e := w.in(loadertest.Entry("b", "B"))
	w.write(e.Dir, "initrd.img", "another initrd")
	kind(t, full.Put(t.Context(), e), be.Unbootable, "needs 3 MiB (2097192 bytes) and 1 MiB (1572864 bytes) are free")
	if after := w.listing(); after != before {
		t.Errorf("refused, and wrote:\n%s", after)
	}
	if p, err := w.play(); err != nil || p.ID != loadertest.ID("a") {
		t.Errorf("boots %+v %v", p, err)
	}
	// With a kernel that is there already there is nothing to find room for.
	w.write(e.Dir, "vmlinuz", "MZ kernel of "+loadertest.ID("a"))
	w.write(e.Dir, "initrd.img", "an initrd that all share")
	if err := full.Put(t.Context(), e); err != nil {
		t.Error(err)
	}
	if err := l.Arm(t.Context(), e.ID); err != nil {
		t.Error(err)
	}
}

// TestOrphansDoNotFillTheESP: a Put that is cut between its kernel and its text
// leaves a kernel that nothing names.
func TestOrphansDoNotFillTheESP(t *testing.T) {
	cutPut := func(w *world, e boot.Entry, at string) {
		t.Helper()
		l := w.loader(func(effect string) error {
			if strings.HasPrefix(effect, at) {
				return errors.New("cut")
			}
			return nil
		})
		if err := l.Put(t.Context(), e); err == nil {
			t.Fatal("no cut")
		}
	}
	b := loadertest.ID("b")
	start := func() (*world, boot.Entry, []string) {
		w := newWorld(t)
		w.ready("a", "b")
		whole := w.kernels()
		e := w.in(loadertest.Entry("b", "B"))
		w.write(e.Dir, "vmlinuz", "MZ upgraded")
		cutPut(w, e, "before write "+b+".conf")
		if k := w.kernels(); len(k) != len(whole)+1 {
			t.Fatalf("the cut leaves %q", k)
		}
		return w, e, whole
	}
	t.Run("Tidy", func(t *testing.T) {
		w, _, whole := start()
		if err := w.loader(nil).Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if k := w.kernels(); !slices.Equal(k, whole) {
			t.Errorf("they are %q, want %q", k, whole)
		}
		if err := w.loader(nil).Arm(t.Context(), b); err != nil {
			t.Error(err)
		}
	})
	t.Run("Put of another kernel", func(t *testing.T) {
		w, e, whole := start()
		w.write(e.Dir, "vmlinuz", "MZ upgraded again")
		// There is room for one kernel more than the three files.
		tight := New(Config{Dir: w.esp, Variables: w.vars, Disk: durable.Disk{Settle: atOnce},
			PartUUID: func(string) (string, error) { return simsdboot.PartUUID, nil },
			Free:     func(string) (int64, error) { return int64(len(whole)+1-len(w.kernels())) * 2 << 20, nil }})
		if err := tight.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if k := w.kernels(); len(k) != len(whole) {
			t.Errorf("they are %q", k)
		}
		if err := tight.Arm(t.Context(), b); err != nil {
			t.Error(err)
		}
	})
	t.Run("Put of the same kernel", func(t *testing.T) {
		w, e, _ := start()
		// The kernel is there and the initrd is not: that one must not go.
		w.write(e.Dir, "initrd.img", "an initrd of its own")
		if err := w.loader(nil).Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if err := w.loader(nil).Arm(t.Context(), b); err != nil {
			t.Error(err)
		}
	})
}

func TestHostileTitlesAreOneLine(t *testing.T) {
	for _, title := range append(loadertest.HostileTitles, `"quoted"`, " blank ") {
		e := loadertest.Entry("a", title)
		for _, trial := range []bool{false, true} {
			b, err := entryText(e, files{"linux-x", "initrd-x"}, trial)
			if err != nil {
				t.Errorf("%q: %v", title, err)
				continue
			}
			if n := strings.Count(string(b), "\n"); n != 7 || !sealed(b) || strings.Contains(string(b), "\r") {
				t.Errorf("%q makes %d lines:\n%s", title, n, b)
			}
			got := bls.ParseEntry(b)
			if id, isTrial := boot.Cmdline([]byte(got.Options)); id != e.ID || isTrial != trial || got.Linux != "/beadm/kernels/linux-x" {
				t.Errorf("%q: %+v", title, got)
			}
		}
	}
}
