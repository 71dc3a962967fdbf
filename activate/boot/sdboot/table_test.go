package sdboot

import (
	_ "embed"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot/bls"
	"beadm/activate/boot/efivar"
	"beadm/activate/boot/loadertest"
)

//go:embed table_test.txt
var table string

type row struct {
	name  string
	field map[string]string
}

func rows() []row {
	var out []row
	for _, block := range strings.Split(table, "\ncase ")[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		r := row{name, map[string]string{"entries": "a b c", "next": "a"}}
		for line := range strings.Lines(rest) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				r.field[key] = value
			}
		}
		out = append(out, r)
	}
	return out
}

func (r row) letters(key string) []string { return strings.Fields(r.field[key]) }

// entryOf is the entry that a field names.
func entryOf(value string) string {
	letter, trial := strings.CutPrefix(value, "trial ")
	switch {
	case len(letter) == 1 && trial:
		return trialName(loadertest.ID(letter))
	case len(letter) == 1:
		return entryName(loadertest.ID(letter))
	}
	return value
}

// lay makes the files and variables of a case.
func (w *world) lay(r row) {
	t := w.t
	t.Helper()
	l := w.ready(r.letters("entries")...)
	if arm := r.letters("arm"); len(arm) == 1 {
		if err := l.Arm(t.Context(), loadertest.ID(arm[0])); err != nil {
			t.Fatal(err)
		}
		if r.field["upper"] != "" {
			w.vars.SetText(efivar.OneShot, strings.ToUpper(w.vars.Text(efivar.OneShot)))
		}
	}
	if key := r.field["foreign"]; key != "" {
		w.write(w.esp, "foreign/linux", w.image("foreign"))
		sort := map[string]string{"first": "aaa", "last": "zzz"}[key]
		w.write(w.esp, "loader/entries/foreign.conf", "title Foreign\nsort-key "+sort+"\nlinux /foreign/linux\noptions foreign=1\n")
	}
	switch def, ok := r.field["default"]; {
	case def == "missing":
		if err := os.Remove(filepath.Join(w.esp, "loader/loader.conf")); err != nil {
			t.Fatal(err)
		}
	case ok:
		w.write(w.esp, "loader/loader.conf", "default "+entryOf(def)+"\n")
	}
	for key, v := range map[string]efivar.Var{"oneshot": efivar.OneShot, "efidefault": efivar.Default} {
		if value, ok := r.field[key]; ok {
			w.vars.SetText(v, entryOf(value))
		}
	}
	file := func(letter string) bls.Entry {
		b, err := os.ReadFile(filepath.Join(w.esp, "loader/entries", entryName(loadertest.ID(letter))))
		if err != nil {
			t.Fatal(err)
		}
		return bls.ParseEntry(b)
	}
	for _, letter := range r.letters("nokernel") {
		os.Remove(filepath.Join(w.esp, file(letter).Linux))
	}
	for _, letter := range r.letters("badkernel") {
		w.write(w.esp, file(letter).Linux, "no kernel")
	}
	for _, letter := range r.letters("noinitrd") {
		// All share it: of this one the entries name another.
		for _, name := range []string{entryName(loadertest.ID(letter)), trialName(loadertest.ID(letter))} {
			p := filepath.Join(w.esp, "loader/entries", name)
			if b, err := os.ReadFile(p); err == nil {
				w.write(filepath.Dir(p), name, strings.ReplaceAll(string(b), "/beadm/kernels/initrd-", "/beadm/kernels/missing-"))
			}
		}
	}
	for _, letter := range r.letters("notrial") {
		os.Remove(filepath.Join(w.esp, "loader/entries", trialName(loadertest.ID(letter))))
	}
}

// right says whether what was started is what the field wants.
func (r row) right(key string, got loadertest.Played, options string) bool {
	want, trial, _ := strings.Cut(r.field[key], " ")
	if want == "foreign" {
		return strings.Contains(options, "foreign=1") && got.ID == ""
	}
	return got == loadertest.Played{ID: loadertest.ID(want), Trial: trial == "trial"}
}

func TestTable(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t)
			w.lay(r)
			for _, key := range []string{"boots", "next"} {
				b, err := w.machine().PowerOn()
				got := playedOptions(b.Options)
				if err != nil || !r.right(key, got, b.Options) {
					t.Errorf("%s: %+v %v, want %q", key, got, err, r.field[key])
				}
				if v := w.vars.Text(efivar.OneShot); v != "" {
					t.Errorf("the token is still there: %q", v)
				}
			}
			// Where there is no default State says so; else it knows what was tried.
			s, err := w.loader(nil).State(t.Context())
			want := ""
			if tried := r.field["tried"]; tried != "" {
				want = loadertest.ID(tried)
			}
			if s.Tried != want {
				t.Errorf("tried is %q %v, want %q", s.Tried, err, want)
			}
			if next := r.field["next"]; err == nil && len(next) == 1 && s.Default != loadertest.ID(next) && r.field["nokernel"] == "" {
				t.Errorf("State says that %q boots by default, want %q", s.Default, next)
			}
		})
	}
}
