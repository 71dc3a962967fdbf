package be_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// may says what each part of the tree may import of the others: downward
// only. share and sync do not know each other; the formats know nothing of
// ours.
var may = map[string][]string{
	"cmd":      {"cmd", "activate", "share", "sync", "be"},
	"activate": {"activate", "share", "sync", "be"},
	"share":    {"share", "be"},
	"sync":     {"sync", "be"},
	"be":       {"be"},
}

// formats are bytes in, bytes out.
var formats = []string{"activate/boot/grubenv", "activate/boot/bls", "activate/boot/efivar"}

func TestImportsPointDownward(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		rel, _ := filepath.Rel("..", path)
		dir := filepath.ToSlash(filepath.Dir(rel))
		top, _, _ := strings.Cut(dir, "/")
		if _, ours := may[top]; !ours {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			what, ours := strings.CutPrefix(name, "beadm/")
			if !ours {
				continue
			}
			seen++
			for _, format := range formats {
				if dir == format && !strings.HasSuffix(path, "_test.go") {
					t.Errorf("%s imports %s: a format imports nothing of ours", rel, name)
				}
			}
			to, _, _ := strings.Cut(what, "/")
			allowed := false
			for _, ok := range may[top] {
				allowed = allowed || to == ok
			}
			if !allowed {
				t.Errorf("%s imports %s: %s may import only %v", rel, name, top, may[top])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Fatalf("only %d imports were seen: the walk went wrong", seen)
	}
}
