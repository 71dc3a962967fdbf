package grub

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/grub/simgrub"
	"beadm/activate/boot/loadertest"
)

func atOnce(string) error { return nil }

// testConfig is for a plain directory.
func testConfig(dir string, step func(string) error) Config {
	return Config{Dir: dir, AnyMedium: true, Reached: Vouched, Disk: durable.Disk{Step: step, Settle: atOnce}}
}

func TestContract(t *testing.T) {
	loadertest.Run(t, func(t *testing.T) loadertest.Fixture {
		dir := t.TempDir()
		return loadertest.Fixture{
			Loader: func(step func(string) error) boot.Loader { return New(testConfig(dir, step)) },
			Play: func() (loadertest.Played, error) {
				b, err := simgrub.Machine{Dir: dir}.PowerOn()
				return loadertest.Played{ID: b.ID, Trial: b.Trial}, err
			},
		}
	})
}

// lay makes the files of a case in dir, the root of a partition.
func lay(t *testing.T, dir string, row loadertest.Row) {
	t.Helper()
	cfg := testConfig(dir, nil)
	cfg.Timeout = -1
	l := New(cfg)
	var entries []boot.Entry
	for _, id := range row.Entries {
		entries = append(entries, loadertest.Entry(id[1:2], "it's "+id))
	}
	if err := l.Install(t.Context(), entries[0]); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := l.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		root := filepath.Join(dir, e.Root.Prefix)
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(root, "initrd.img"), []byte("initrd"))
		if !slices.Contains(row.NoLoad, e.ID) {
			put(t, filepath.Join(root, "vmlinuz"), []byte("kernel"))
		}
	}
	for _, id := range row.Broken {
		if err := os.Truncate(l.entryPath(id), 400); err != nil {
			t.Fatal(err)
		}
	}
	put(t, l.path("env"), row.Env)
	switch {
	case row.Baked == nil:
		put(t, l.path("default.cfg"), nil)
	case boot.ValidID(string(row.Baked)):
		put(t, l.path("default.cfg"), bakedText(string(row.Baked)))
	default:
		put(t, l.path("default.cfg"), []byte("{ ' if\n\xff\x00}"))
	}
}

// put writes the file, or removes it if b is nil.
func put(t *testing.T, path string, b []byte) {
	t.Helper()
	err := os.Remove(path)
	if b != nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTable(t *testing.T) {
	for _, row := range loadertest.Rows() {
		t.Run(row.Name, func(t *testing.T) {
			dir := t.TempDir()
			lay(t, dir, row)
			m := simgrub.Machine{Dir: dir, ReadOnly: row.ReadOnly, Load: func(path string) bool {
				_, err := os.Stat(filepath.Join(dir, path))
				return err == nil
			}}
			// State foretells what GRUB does, but for what it cannot see.
			state, stateErr := New(testConfig(dir, nil)).State(t.Context())
			b, err := m.PowerOn()
			if got := (loadertest.Played{ID: b.ID, Trial: b.Trial}); err != nil || !row.Right(got) {
				t.Errorf("boots %+v %v, want %+v", got, err, row.Want)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, "beadm", "env")); !bytes.Equal(after, row.After) {
				t.Errorf("environment is %q, want %q", after, row.After)
			}
			if stateErr == nil && !b.Trial && len(row.NoLoad)+len(row.Broken) == 0 && state.Default != b.ID {
				t.Errorf("State said %q would boot", state.Default)
			}
		})
	}
}

// TestScripts asks GRUB's own parser.
func TestScripts(t *testing.T) {
	tool, err := exec.LookPath("grub-script-check")
	if err != nil {
		t.Fatalf("%v: install grub-common", err)
	}
	check := func(what string, b []byte) {
		t.Helper()
		cmd := exec.Command(tool)
		cmd.Stdin = bytes.NewReader(b)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s\n%s", what, err, out, b)
		}
	}
	check("grub.cfg", configText("BEAD-BEAD", 3))
	check("default.cfg", bakedText(loadertest.ID("a")))
	copied, err := entryText(loadertest.Entry("a", "A"), fromPartition("linux-0", "initrd-0"))
	if err != nil {
		t.Fatal(err)
	}
	check("entry with its kernel on the partition", copied)
	check("hook", []byte(hookText(medium{uuid: "BEAD-BEAD", modules: []string{"lvm"}})))
	for _, title := range loadertest.HostileTitles {
		b, err := rootText(loadertest.Entry("a", title))
		if err != nil {
			t.Errorf("%q: %v", title, err)
			continue
		}
		check(title, b)
		if lines := strings.Count(string(b), "\n"); lines != strings.Count(string(mustEntry(t, "plain")), "\n") {
			t.Errorf("title %q changes the lines of the script:\n%s", title, b)
		}
		if !sealed(b) {
			t.Errorf("title %q: not sealed", title)
		}
	}
}

// rootText is the entry with its kernel in the root.
func rootText(e boot.Entry) ([]byte, error) {
	from, err := fromRoot(e)
	if err != nil {
		return nil, err
	}
	return entryText(e, from)
}

func mustEntry(t *testing.T, title string) []byte {
	t.Helper()
	b, err := rootText(loadertest.Entry("a", title))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTitles(t *testing.T) {
	for in, want := range map[string]string{
		"plain":       "'plain'",
		"it's":        `'it'\''s'`,
		"--users=x":   "' --users=x'",
		"\n--users=x": "'?--users=x'",
		" -x":         "' -x'",
		"":            "'" + loadertest.ID("a") + "'",
		" \t":         "'?'",
		"a\nb\x00c":   "'a?b?c'",
		"\xff":        "'?'",
		"\u202e":      "'?'",
	} {
		if got := title(boot.Entry{ID: loadertest.ID("a"), Title: in}); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// An argument that would keep a fault of the trial from its end is the boot
// environment's in every other boot.
func TestTrialLeavesArguments(t *testing.T) {
	e := loadertest.Entry("a", "A")
	e.Args = []string{"quiet", "nowatchdog"}
	text, err := rootText(e)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "if linux ") {
			continue
		}
		trial := strings.Contains(line, "'"+boot.ArgTrial+"=1'")
		if !strings.Contains(line, " 'quiet' ") || strings.Contains(line, " 'nowatchdog' ") == trial {
			t.Errorf("trial: %v: %s", trial, line)
		}
	}
	if n := strings.Count(string(text), "nowatchdog"); n != 1 {
		t.Errorf("it is there %d times", n)
	}
}

func TestEntryRefuses(t *testing.T) {
	for what, change := range map[string]func(*boot.Entry){
		"quote in argument":   func(e *boot.Entry) { e.Args = []string{"a'b"} },
		"blank in argument":   func(e *boot.Entry) { e.Args = []string{"a b"} },
		"newline in argument": func(e *boot.Entry) { e.TrialArgs = []string{"a\nb"} },
		"backslash":           func(e *boot.Entry) { e.Root.Args = []string{`a\b`} },
		"byte over 127":       func(e *boot.Entry) { e.Root.Prefix = "/\xff" },
		"option":              func(e *boot.Entry) { e.Args = []string{"-x"} },
		"empty argument":      func(e *boot.Entry) { e.Args = []string{""} },
		"quote in label":      func(e *boot.Entry) { e.Root.FSUUID = "a'b" },
		"no way to the root":  func(e *boot.Entry) { e.Root.FSUUID, e.Root.Label = "", "" },
		"relative kernel":     func(e *boot.Entry) { e.Kernel = "vmlinuz" },
		"no initrd":           func(e *boot.Entry) { e.Initrd = "" },
	} {
		e := loadertest.Entry("a", "A")
		change(&e)
		if b, err := rootText(e); err == nil {
			t.Errorf("%s: accepted:\n%s", what, b)
		}
	}
}
