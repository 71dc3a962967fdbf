package grub

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/grub/simgrub"
	"beadm/activate/boot/grubenv"
	"beadm/activate/boot/loadertest"
	"beadm/be"
)

// TestRepair damages one file at a time: Probe and Arm refuse with a
// sentence, GRUB still boots the default, and Install mends it, keeping what
// can be kept.
func TestRepair(t *testing.T) {
	a, b := loadertest.ID("a"), loadertest.ID("b")
	env := func(kv ...string) []byte {
		e := grubenv.New()
		for i := 0; i < len(kv); i += 2 {
			e.Set(kv[i], kv[i+1])
		}
		out, _ := e.Encode()
		return out
	}
	for _, c := range []struct {
		name, file string
		content    []byte // nil: removed
		says       string
		trial      string // after Install
	}{
		{"env missing", "env", nil, "missing", ""},
		{"env empty", "env", []byte{}, "no environment block", ""},
		{"env garbage", "env", bytes.Repeat([]byte("x"), 512), "no environment block", ""},
		{"env dirty", "env", append(env("beadm_default", a)[:511], 'x'), "padding", ""},
		{"env long", "env", append(env("beadm_default", a, "beadm_trial", b, "other", "x"), bytes.Repeat([]byte("#"), 512)...), "1024 bytes", b},
		{"env with no id", "env", env("beadm_default", a, "beadm_trial", "../x"), "holds", ""},
		{"default.cfg missing", "default.cfg", nil, "default.cfg", ""},
		{"default.cfg garbage", "default.cfg", []byte("x"), "default.cfg", ""},
		{"default.cfg of one that is gone", "default.cfg", bakedText(loadertest.ID("d")), "default.cfg", ""},
		{"grub.cfg edited", "grub.cfg", append(configText("0000-0000", 3), "set timeout=9\n"...), "edited", ""},
		{"grub.cfg of a later version", "grub.cfg", seal("# beadm: GRUB configuration, version 9. x\n"), "another version", ""},
		{"entry edited", "entries/" + b + ".cfg", []byte("menuentry x {\n}\n"), "damaged or was edited", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := New(testConfig(dir, nil))
			for i, letter := range []string{"a", "b"} {
				var err error
				if i == 0 {
					err = l.Install(t.Context(), loadertest.Entry(letter, letter))
				} else {
					err = l.Put(t.Context(), loadertest.Entry(letter, letter))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			put(t, l.path(c.file), c.content)
			for what, err := range map[string]error{"Arm": l.Arm(t.Context(), b), "Probe": l.Probe(t.Context())} {
				if what == "Probe" && strings.HasPrefix(c.name, "entry") {
					continue
				}
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v, want %q", what, err, c.says)
				}
				if k := be.KindOf(err); k != be.Unbootable && k != be.NoStore {
					t.Errorf("%s: kind %d", what, k)
				}
			}
			if now, _ := os.ReadFile(l.path(c.file)); !bytes.Equal(now, c.content) {
				t.Error("a refusal wrote the file")
			}
			if err := l.Install(t.Context(), loadertest.Entry("b", "b")); err != nil {
				t.Fatal(err)
			}
			if err := l.Probe(t.Context()); err != nil {
				t.Error(err)
			}
			if s, err := l.State(t.Context()); err != nil || s != (boot.State{Default: a, Trial: c.trial}) {
				t.Errorf("state %+v %v", s, err)
			}
			if raw, _ := os.ReadFile(l.path("env")); len(raw) != 512 || c.trial != "" && !bytes.Contains(raw, []byte("\nother=x\n")) {
				t.Errorf("environment %q", raw)
			}
			if err := l.Arm(t.Context(), b); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDisarmDamaged: a block that this package cannot read but in which GRUB
// might find a token is not left there.
func TestDisarmDamaged(t *testing.T) {
	dir := t.TempDir()
	l := New(testConfig(dir, nil))
	if err := errors.Join(l.Install(t.Context(), loadertest.Entry("a", "A")), l.Put(t.Context(), loadertest.Entry("b", "B")), l.Arm(t.Context(), loadertest.ID("b"))); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(l.path("env"))
	raw[511] = 'x'
	put(t, l.path("env"), raw)
	if _, err := l.State(t.Context()); be.KindOf(err) != be.Unbootable {
		t.Errorf("state of a damaged environment: %v", err)
	}
	if err := l.Disarm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := l.State(t.Context()); err != nil || s != (boot.State{Default: loadertest.ID("a")}) {
		t.Errorf("%+v %v", s, err)
	}
	if b, err := (simgrub.Machine{Dir: dir}).PowerOn(); err != nil || b.ID != loadertest.ID("a") || b.Trial {
		t.Errorf("%+v %v", b, err)
	}
}

// TestReached holds Install to say what is to be done, with everything in
// place for it.
func TestReached(t *testing.T) {
	dir := t.TempDir()
	cfg := testConfig(dir, nil)
	cfg.Reached = func(ctx context.Context, dir string) error {
		return be.E(be.NoStore, "GRUB does not come to %s", dir)
	}
	err := New(cfg).Install(t.Context(), loadertest.Entry("a", "A"))
	if be.KindOf(err) != be.NoStore {
		t.Errorf("%v", err)
	}
	if err := New(testConfig(dir, nil)).Probe(t.Context()); err != nil {
		t.Error(err)
	}

	stub := filepath.Join(dir, "EFI", "debian", "grub.cfg")
	if err := os.MkdirAll(filepath.Dir(stub), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stub, []byte("search.fs_uuid x root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg = testConfig(dir, nil)
	cfg.Reached = nil
	if b, err := os.ReadFile("/proc/cmdline"); err == nil {
		if id, _ := boot.Cmdline(b); id != "" {
			t.Skip("NOT RUN: this machine was started by beadm")
		}
	}
	if err := New(cfg).Probe(t.Context()); be.KindOf(err) != be.NoStore || !strings.Contains(err.Error(), "does not come to") {
		t.Errorf("not hooked: %v", err)
	}
	cfg.Hook = true
	if err := New(cfg).Install(t.Context(), loadertest.Entry("a", "A")); err != nil {
		t.Error(err)
	}
	b, _ := os.ReadFile(stub)
	if !strings.HasPrefix(string(b), hookBegin) || !strings.HasSuffix(string(b), "configfile $prefix/grub.cfg\n") {
		t.Errorf("stub: %q", b)
	}
}
