package grub

import (
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot/loadertest"
)

// words splits the first line of a GRUB script that begins with start as
// GRUB's lexer does (grub-core/script/yylex.l), as far as quoting in single
// quotes goes.
func words(text, start string) []string {
	_, line, ok := strings.Cut(text, start)
	if !ok {
		return nil
	}
	var out []string
	word, in, quoted, escaped := "", false, false, false
	for _, c := range line {
		switch {
		case escaped:
			word, escaped = word+string(c), false
		case quoted && c == '\'':
			quoted = false
		case quoted:
			word += string(c)
		case c == '\'':
			quoted, in = true, true
		case c == ' ' || c == ';' || c == '\n':
			if in {
				out = append(out, word)
			}
			word, in = "", false
			if c != ' ' {
				return out
			}
		case c == '\\':
			in, escaped = true, true
		default:
			word, in = word+string(c), true
		}
	}
	return out
}

// FuzzEntry: whatever a name, a root or a kernel argument says, the entry is
// one command with those words in it, or is refused.
func FuzzEntry(f *testing.F) {
	for _, title := range loadertest.HostileTitles {
		f.Add(title, "quiet", "/ROOT/x@")
		f.Add("x", title, "/ROOT/x@")
		f.Add("x", "quiet", title)
	}
	plain := strings.Count(string(mustText(f)), "\n")
	f.Fuzz(func(t *testing.T, title, arg, prefix string) {
		e := loadertest.Entry("a", title)
		e.Args, e.Root.Prefix = []string{arg}, prefix
		b, err := rootText(e)
		if err != nil {
			return
		}
		if got := strings.Count(string(b), "\n"); got != plain || !sealed(b) {
			t.Fatalf("%d lines in place of %d:\n%s", got, plain, b)
		}
		menu := words(string(b), "if menuentry ")
		if len(menu) < 3 || menu[1] != "--id" || menu[2] != e.ID || strings.HasPrefix(menu[0], "-") {
			t.Fatalf("menuentry %q:\n%s", menu, b)
		}
		linux := words(string(b), "if linux ")
		if !slices.Contains(linux, arg) {
			t.Fatalf("linux %q has no %q:\n%s", linux, arg, b)
		}
	})
}

func mustText(f *testing.F) []byte {
	b, err := rootText(loadertest.Entry("a", "plain"))
	if err != nil {
		f.Fatal(err)
	}
	return b
}
