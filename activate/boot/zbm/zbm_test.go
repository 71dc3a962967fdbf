package zbm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/simfirmware"
	"beadm/be"
)

const testRoot = "rpool/ROOT"

// fakePool has the properties of one pool.
type fakePool struct{ d *Datasets }

func (p fakePool) Read(context.Context) (Datasets, error) {
	d := Datasets{Bootfs: p.d.Bootfs, Local: map[string]map[string]string{}}
	for name, local := range p.d.Local {
		d.Local[name] = maps.Clone(local)
	}
	return d, nil
}

func (p fakePool) Set(_ context.Context, dataset string, properties map[string]string) error {
	local, ok := p.d.Local[dataset]
	if !ok {
		return fmt.Errorf("cannot open '%s': dataset does not exist", dataset)
	}
	for name, value := range properties {
		if value == "" {
			delete(local, name)
		} else {
			local[name] = value
		}
	}
	return nil
}

func (p fakePool) SetBootfs(_ context.Context, dataset string) error {
	p.d.Bootfs = dataset
	return nil
}

func (p fakePool) Sync(context.Context) error { return nil }

// world is a machine that ZFSBootMenu has started.
type world struct {
	t    *testing.T
	pool fakePool
	fw   simfirmware.Firmware
	// old: ZFSBootMenu before 3.1.0, which knows only pools in zbm.prefer.
	old bool
}

var testDrive = efivar.HardDrive{Number: 1, Start: 2048, Size: 1048576, GUID: "beadbead-0000-4000-8000-000000000001"}

const zbmImage = `\EFI\zbm\vmlinuz.EFI`

func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "beadm-zbm-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newWorld(t *testing.T) *world {
	t.Helper()
	d := &Datasets{Local: map[string]map[string]string{
		"rpool":  {propCommandline: "quiet"},
		testRoot: {propCommandline: parent + " loglevel=4"},
	}}
	for _, letter := range []string{"a", "b", "c", "d"} {
		d.Local[dataset(letter)] = map[string]string{}
	}
	w := &world{t: t, pool: fakePool{d}, fw: simfirmware.Firmware{Vars: simfirmware.Vars{Dir: memory(t)}, ESP: memory(t), Drive: testDrive}}
	w.write("EFI/zbm/vmlinuz.EFI", bundle("ro quiet spl_hostid=00bab10c zbm.timeout=10"))
	w.set(efivar.BootOption(0), w.option("ZFSBootMenu", zbmImage, ""))
	w.set(efivar.BootOrder, efivar.EncodeNumbers(0))
	w.set(efivar.BootCurrent, efivar.EncodeNumbers(0))
	return w
}

func dataset(letter string) string { return testRoot + "/" + loadertest.ID(letter) }

func (w *world) write(name string, b []byte) {
	w.t.Helper()
	path := filepath.Join(w.fw.ESP, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
		w.t.Fatal(err)
	}
}

// set writes a variable as somebody else does; nil deletes it.
func (w *world) set(v efivar.Var, data []byte) {
	w.t.Helper()
	os.Remove(filepath.Join(w.fw.Vars.Dir, v.FileName()))
	if data != nil {
		if err := efivar.Dir(w.fw.Vars.Dir).Write(v, data); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) option(title, path, options string) []byte {
	w.t.Helper()
	drive, err := testDrive.Node()
	file, err2 := efivar.FileNode(path)
	o := efivar.LoadOption{Attributes: efivar.OptionActive, Description: title, Path: []efivar.Node{drive, file}}
	var err3 error
	if options != "" {
		o.Data, err3 = efivar.EncodeString(options)
	}
	b, err4 := efivar.EncodeLoadOption(o)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) loader(step func(string) error) *Loader {
	return New(Config{Root: testRoot, Pool: w.pool, Variables: w.fw.Vars, ESPs: []string{w.fw.ESP}, Disk: durable.Disk{Step: step},
		Drives: func(string) ([]efivar.HardDrive, error) { return []efivar.HardDrive{testDrive}, nil }})
}

// rooted gives every entry its dataset.
type rooted struct{ *Loader }

func in(e boot.Entry) boot.Entry {
	e.Root = be.RootRef{FS: "zfs", Label: "rpool", Prefix: "/ROOT/" + e.ID + "@", Args: []string{"root=ZFS=" + testRoot + "/" + e.ID}}
	return e
}

func (l rooted) Install(ctx context.Context, e boot.Entry) error { return l.Loader.Install(ctx, in(e)) }
func (l rooted) Put(ctx context.Context, e boot.Entry) error     { return l.Loader.Put(ctx, in(e)) }

func (w *world) ready(letters ...string) *Loader {
	w.t.Helper()
	l := rooted{w.loader(nil)}
	for i, letter := range letters {
		put := l.Put
		if i == 0 {
			put = l.Install
		}
		if err := put(w.t.Context(), loadertest.Entry(letter, "BE "+letter)); err != nil {
			w.t.Fatal(err)
		}
	}
	return l.Loader
}

// started is what ZFSBootMenu's kernel is told at power-on.
func (w *world) started() (string, error) {
	if _, err := w.fw.Image(); err != nil {
		return "", err
	}
	b, err := w.fw.Vars.Read(efivar.BootCurrent)
	if err != nil {
		return "", err
	}
	n, err := efivar.DecodeNumber(b)
	if err != nil {
		return "", err
	}
	if b, err = w.fw.Vars.Read(efivar.BootOption(n)); err != nil {
		return "", err
	}
	o, err := efivar.DecodeLoadOption(b)
	if err != nil {
		return "", err
	}
	return efivar.DecodeString(o.Data)
}

// power plays ZFSBootMenu as zfsbootmenu(7) of 3.1.0 describes it.
func (w *world) power() (dataset, cmdline string, err error) {
	told, err := w.started()
	if err != nil {
		return "", "", err
	}
	dataset = w.pool.d.Bootfs
	over, overridden := "", false
	for _, word := range words(told) {
		if v, ok := strings.CutPrefix(word, "zbm.prefer="); ok && w.pool.d.Local[v] != nil && !w.old {
			dataset = v
		}
		if v, ok := strings.CutPrefix(word, "zbm.kcl_override="); ok {
			over, overridden = strings.Trim(v, `"`), true
		}
	}
	if w.pool.d.Local[dataset] == nil {
		return "", "", nil // the menu
	}
	cmdline = effective(*w.pool.d, dataset)
	if overridden {
		cmdline = over
	}
	return dataset, cmdline, nil
}

func (w *world) play() (loadertest.Played, error) {
	dataset, cmdline, err := w.power()
	id, trial := boot.Cmdline([]byte(cmdline))
	if w.pool.d.Local[dataset][propID] != id {
		// What boots is not what it is told: it is no trial (activate.Boot).
		id, trial = w.pool.d.Local[dataset][propID], false
	}
	return loadertest.Played{ID: id, Trial: trial}, err
}

func (w *world) boots(letter string, trial bool) {
	w.t.Helper()
	if got, err := w.play(); err != nil || got != (loadertest.Played{ID: loadertest.ID(letter), Trial: trial}) {
		w.t.Errorf("boots %+v %v, want %s %v", got, err, letter, trial)
	}
}

func (w *world) state(want boot.State) {
	w.t.Helper()
	if got, err := w.loader(nil).State(w.t.Context()); err != nil || got != want {
		w.t.Errorf("state is %+v %v, want %+v", got, err, want)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	loadertest.Run(t, func(t *testing.T) loadertest.Fixture {
		w := newWorld(t)
		return loadertest.Fixture{
			Loader: func(step func(string) error) boot.Loader { return rooted{w.loader(step)} },
			Play:   w.play,
		}
	})
}

// TestTold holds what ZFSBootMenu and the kernel are given, of a trial and not.
func TestTold(t *testing.T) {
	w := newWorld(t)
	l := w.ready("a", "b")
	e := in(loadertest.Entry("b", "B"))
	e.Args, e.TrialArgs = []string{"init=/usr/lib/beadm/init"}, []string{"panic=5", "noresume"}
	w.pool.d.Local[dataset("b")][propCommandline] = `%{parent} mine="x y" quiet beadm.be=baaaaaaaaaaaa`
	delete(w.pool.d.Local[dataset("b")], propArgs)
	ok(t, l.Put(t.Context(), e))
	want := `%{parent} mine="x y" quiet init=/usr/lib/beadm/init beadm.be=bbbbbbbbbbbbb`
	if got := w.pool.d.Local[dataset("b")][propCommandline]; got != want {
		t.Errorf("the property is %q, want %q", got, want)
	}
	if err := l.Arm(t.Context(), e.ID); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "double quote") {
		t.Errorf("armed with a quoted argument: %v", err)
	}
	w.pool.d.Local[dataset("b")][propCommandline] = "%{parent} mine nosoftlockup init=/usr/lib/beadm/init beadm.be=bbbbbbbbbbbbb"
	ok(t, l.Arm(t.Context(), e.ID))
	told, err := w.started()
	if want := `ro quiet spl_hostid=00bab10c zbm.prefer=rpool/ROOT/bbbbbbbbbbbbb zbm.timeout=0 panic=30 zbm.kcl_override="quiet loglevel=4 mine init=/usr/lib/beadm/init beadm.be=bbbbbbbbbbbbb beadm.trial=1 panic=5 noresume"`; err != nil || told != want {
		t.Errorf("ZFSBootMenu is told %q %v, want %q", told, err, want)
	}
	// Its own load options come before what is in the image.
	w.set(efivar.BootOption(0), w.option("ZFSBootMenu", zbmImage, "loglevel=7 zbm.show"))
	ok(t, l.Arm(t.Context(), e.ID))
	if told, err := w.started(); err != nil || !strings.HasPrefix(told, "loglevel=7 zbm.prefer=") {
		t.Errorf("ZFSBootMenu is told %q %v", told, err)
	}
	// What was the administrator's stays when the entry goes.
	ok(t, l.Remove(t.Context(), e.ID))
	if got, want := w.pool.d.Local[dataset("b")], (map[string]string{propCommandline: "%{parent} mine nosoftlockup"}); !reflect.DeepEqual(got, want) {
		t.Errorf("the properties are %v, want %v", got, want)
	}
	ok(t, l.Put(t.Context(), in(loadertest.Entry("c", "C"))))
	ok(t, l.Remove(t.Context(), loadertest.ID("c")))
	if got := w.pool.d.Local[dataset("c")]; len(got) != 0 {
		t.Errorf("the properties are %v, want none", got)
	}
}

// TestOlder: a ZFSBootMenu that does not know a dataset in zbm.prefer starts
// the default, which is no trial.
func TestOlder(t *testing.T) {
	w := newWorld(t)
	l := w.ready("a", "b")
	w.old = true
	ok(t, l.Arm(t.Context(), loadertest.ID("b")))
	w.boots("a", false)
	w.boots("a", false)
	w.state(boot.State{Default: loadertest.ID("a"), Tried: loadertest.ID("b")})
}

// TestInherited: what a dataset has from above, or a clone from its source, is
// not its own.
func TestInherited(t *testing.T) {
	w := newWorld(t)
	l := w.ready("a", "b")
	w.pool.d.Local[testRoot+"/b2"] = map[string]string{propCommandline: w.pool.d.Local[dataset("b")][propCommandline]}
	w.pool.d.Local[testRoot+"/x/deep"] = map[string]string{propID: loadertest.ID("c")}
	if ids, err := l.Entries(t.Context()); err != nil || !slices.Equal(ids, []string{loadertest.ID("a"), loadertest.ID("b")}) {
		t.Errorf("entries are %q %v", ids, err)
	}
	e := loadertest.Entry("c", "C")
	e.Root = be.RootRef{FS: "zfs", Label: "rpool", Prefix: "/ROOT/b2@"}
	ok(t, l.Put(t.Context(), e))
	if got := effective(*w.pool.d, testRoot+"/b2"); strings.Count(got, boot.ArgBE) != 1 || !strings.Contains(got, boot.ArgBE+"="+e.ID) {
		t.Errorf("the clone is told %q", got)
	}
	for what, change := range map[string]func(*boot.Entry){
		"nested":          func(e *boot.Entry) { e.Root.Prefix = "/ROOT/x/deep@" },
		"elsewhere":       func(e *boot.Entry) { e.Root.Prefix = "/other@" },
		"not there":       func(e *boot.Entry) { e.Root.Prefix = "/ROOT/none@" },
		"another's id":    func(e *boot.Entry) { e.ID = loadertest.ID("b") },
		"quoted argument": func(e *boot.Entry) { e.Args = []string{`a="b"`} },
		"blank":           func(e *boot.Entry) { e.TrialArgs = []string{"a b"} },
	} {
		e := e
		change(&e)
		if err := l.Put(t.Context(), e); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// TestOthers: another's BootNext is left alone, and a trial whose place it took
// does not count as tried.
func TestOthers(t *testing.T) {
	a, b := loadertest.ID("a"), loadertest.ID("b")
	w := newWorld(t)
	l := w.ready("a", "b")
	w.set(efivar.BootOption(7), w.option("other", `\EFI\other\x.efi`, ""))
	ok(t, l.Arm(t.Context(), b))
	w.set(efivar.BootNext, efivar.EncodeNumbers(7))
	w.state(boot.State{Default: a})
	if err := l.Arm(t.Context(), b); be.KindOf(err) != be.InUse {
		t.Errorf("armed over another's: %v", err)
	}
	ok(t, l.Disarm(t.Context()))
	if v, err := w.fw.Vars.Read(efivar.BootNext); err != nil || !bytes.Equal(v, efivar.EncodeNumbers(7)) {
		t.Errorf("another's BootNext is %q %v", v, err)
	}
	w.set(efivar.BootNext, nil)
	w.state(boot.State{Default: a})
	if n, _, err := w.loader(nil).options(); err != nil || len(n) != 0 {
		t.Errorf("left are %x %v", n, err)
	}
	// Out of the order of booting, whoever put it there.
	ok(t, l.Arm(t.Context(), b))
	w.set(efivar.BootOrder, efivar.EncodeNumbers(1, 0))
	w.boots("b", true)
	w.boots("a", false)
	w.state(boot.State{Default: a, Tried: b})
}

// TestNothingElseInTheOrder: firmware that put our option into an order of its
// own, alone, would start the trial again and again.
func TestNothingElseInTheOrder(t *testing.T) {
	b := loadertest.ID("b")
	w := newWorld(t)
	l := w.ready("a", "b")
	ok(t, l.Arm(t.Context(), b))
	ours, _, err := l.options()
	if err != nil || len(ours) != 1 {
		t.Fatalf("%x %v", ours, err)
	}
	for _, order := range [][]uint16{ours, {ours[0], 0}, {0}, nil} {
		w.set(efivar.BootOrder, nil)
		if order != nil {
			w.set(efivar.BootOrder, efivar.EncodeNumbers(order...))
		}
		// Another's trial first, so that there is something to write.
		ok(t, w.loader(nil).Arm(t.Context(), loadertest.ID("a")))
		ok(t, w.loader(nil).Arm(t.Context(), b))
		want := []uint16{0}
		if order == nil {
			want = nil
		}
		if got := w.loader(nil).order(); !slices.Equal(got, want) {
			t.Errorf("%x became %x, want %x", order, got, want)
		}
	}
}

// A root whose /boot is in another pool has no kernel where ZFSBootMenu looks.
func TestBootPoolIsRefused(t *testing.T) {
	w := newWorld(t)
	l := w.ready("a", "b")
	e := in(loadertest.Entry("b", "B"))
	e.Root.Needs = []string{be.NeedsBootPool}
	if err := l.Put(t.Context(), e); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "another pool") {
		t.Errorf("%v", err)
	}
}

// TestFirmwareThatCannotBeTrusted: nothing is armed, and what is in the way is
// said.
func TestFirmwareThatCannotBeTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(w *world)
		kind be.Kind
		says string
	}{
		"no variables":          {func(w *world) { w.fw.Vars.Absent = true }, be.Unbootable, "not mounted"},
		"variables read-only":   {func(w *world) { w.fw.Vars.ReadOnly = true }, be.Unbootable, "read-only"},
		"full":                  {func(w *world) { w.fw.Vars.Full = true }, be.Unbootable, "full"},
		"what is deleted stays": {func(w *world) { w.fw.Vars.Sticky = true }, be.Unbootable, "for ever"},
		"another loader":        {func(w *world) { w.set(efivar.BootOption(0), w.option("debian", debianImage, "")) }, be.NoStore, "no boot option"},
		"no ESP":                {func(w *world) { os.RemoveAll(filepath.Join(w.fw.ESP, "EFI")) }, be.Unbootable, "told"},
		"no section":            {func(w *world) { w.write("EFI/zbm/vmlinuz.EFI", []byte("MZ")) }, be.Unbootable, "told"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.ready("a", "b")
			c.do(w)
			if err := w.loader(nil).Arm(t.Context(), loadertest.ID("b")); be.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q of kind %d", err, c.says, c.kind)
			}
			w.fw.Vars = simfirmware.Vars{Dir: w.fw.Vars.Dir}
			w.state(boot.State{Default: loadertest.ID("a")})
		})
	}
}

const debianImage = `\EFI\debian\grubx64.efi`

// TestZFSCommands holds what zfs(8) and zpool(8) are asked, and how their
// answers are read (constructed from zfs-get(8) and zpool-get(8), -H).
func TestZFSCommands(t *testing.T) {
	var asked []string
	z := zfsPool{testRoot, func(_ context.Context, argv ...string) (string, error) {
		asked = append(asked, strings.Join(argv, " "))
		switch {
		case argv[0] == "zpool" && argv[1] == "get":
			return "rpool/ROOT/a\n", nil
		case argv[1] == "get" && argv[len(argv)-1] == "rpool":
			return "rpool\torg.zfsbootmenu:commandline\tquiet\tlocal\n", nil
		case argv[1] == "get":
			return "rpool/ROOT\torg.beadm:zbm-record\tnone\tlocal\n" +
				"rpool/ROOT\torg.zfsbootmenu:commandline\tquiet\tinherited from rpool\n" +
				"rpool/ROOT/a\torg.beadm:zbm-id\tbaaaaaaaaaaaa\tlocal\n" +
				"rpool/ROOT/a\torg.zfsbootmenu:commandline\ta\tb\tlocal\n" +
				"rpool/ROOT/b\torg.beadm:zbm-id\tbbbbbbbbbbbbb\treceived\n" +
				"rpool/ROOT/b\torg.zfsbootmenu:commandline\t-\t-\n", nil
		}
		return "", nil
	}}
	d, err := z.Read(t.Context())
	want := Datasets{"rpool/ROOT/a", map[string]map[string]string{
		"rpool": {propCommandline: "quiet"}, testRoot: {propRecord: "none"},
		"rpool/ROOT/a": {propID: "baaaaaaaaaaaa", propCommandline: "a\tb"}, "rpool/ROOT/b": {},
	}}
	if err != nil || !reflect.DeepEqual(d, want) {
		t.Errorf("read %+v %v", d, err)
	}
	asked = nil
	ok(t, errors.Join(z.Set(t.Context(), "rpool/ROOT/a", map[string]string{propID: "x", propTrial: "-", propArgs: ""}),
		z.SetBootfs(t.Context(), "rpool/ROOT/b"), z.Sync(t.Context())))
	if got, want := strings.Join(asked, "\n"), "zfs set org.beadm:zbm-id=x org.beadm:zbm-trial=- rpool/ROOT/a\nzfs inherit org.beadm:zbm-args rpool/ROOT/a\nzpool set bootfs=rpool/ROOT/b rpool\nzpool sync rpool"; got != want {
		t.Errorf("asked:\n%s\nwant:\n%s", got, want)
	}
	for _, bad := range []string{"x\n", "rpool/ROOT/a\tother\tv\tlocal\n", "second line of a value\tx\ty\tz\n"} {
		if err := (Datasets{Local: map[string]map[string]string{}}).parse(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// FuzzCommandline: whatever a dataset's commandline is, what is ours comes
// last, once, and goes again.
func FuzzCommandline(f *testing.F) {
	for _, s := range []string{"", parent, "quiet", `a="b c" 'd e`, "beadm.be=x beadm.trial=1 quiet", "\t\n \""} {
		f.Add(s)
	}
	args := []string{"init=/x", "beadm.be=baaaaaaaaaaaa"}
	f.Fuzz(func(t *testing.T, have string) {
		got := merge(have, nil, args)
		if !strings.HasSuffix(got, " init=/x beadm.be=baaaaaaaaaaaa") {
			t.Errorf("%q becomes %q", have, got)
		}
		if strings.Count(have, `"`)%2 == 0 && !strings.Contains(have, "'") {
			if again := merge(got, args, args); again != got {
				t.Errorf("%q becomes %q, and then %q", have, got, again)
			}
			if rest, want := without(got, args), without(have, args); rest != want {
				t.Errorf("of %q is left %q, want %q", have, rest, want)
			}
		}
	})
}

// bundle is a PE image with nothing in it but a section .cmdline (Microsoft,
// "PE Format"), which is what of a UEFI bundle is read.
func bundle(cmdline string) []byte {
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			binary.Write(&b, binary.LittleEndian, v)
		}
	}
	put([]byte("MZ"), make([]byte, 0x3a), uint32(0x40), []byte("PE\x00\x00"))
	put(uint16(0x8664), uint16(1), uint32(0), uint32(0), uint32(0), uint16(0), uint16(0x222))
	put([]byte(".cmdline"), uint32(len(cmdline)), uint32(0x1000), uint32(0x200), uint32(0x200), [3]uint32{}, uint32(0x40000040))
	return append(append(b.Bytes(), make([]byte, 0x200-b.Len())...), append([]byte(cmdline), make([]byte, 0x200-len(cmdline))...)...)
}
