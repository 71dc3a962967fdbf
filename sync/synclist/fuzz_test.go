package synclist

import (
	"errors"
	"strings"
	"testing"
)

// FuzzParse: a list of any bytes is refused with its place, or reads the same
// when it is printed, and matches without end or panic nowhere.
func FuzzParse(f *testing.F) {
	for _, goos := range []string{"linux", "freebsd", "illumos"} {
		f.Add([]byte(Builtin(goos).String()), "/etc/ssh/ssh_host_rsa_key")
	}
	f.Add([]byte("/etc/{a,b/c}/**/*.conf KEEP\n!/etc/[a-z]?\\ x\n/a\\\n"), "/etc/b/c/d/e.conf")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		list, err := Parse("f", data)
		if err != nil {
			var s *SyntaxError
			if !errors.As(err, &s) {
				t.Fatalf("no place: %v", err)
			}
			lines := strings.Split(string(data), "\n")
			if s.Line < 1 || s.Line > len(lines) || s.Column < 1 || s.Column > len(lines[s.Line-1])+1 {
				t.Fatalf("%v is not in %q", err, data)
			}
			return
		}
		again, err := Parse("f", []byte(list.String()))
		if err != nil || len(again.Rules) != len(list.Rules) {
			t.Fatalf("printed as %q: %v", list.String(), err)
		}
		for i, r := range list.Rules {
			if g := again.Rules[i]; g.Pattern != r.Pattern || g.Action != r.Action {
				t.Fatalf("%q became %q", r.Pattern, g.Pattern)
			}
		}
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		_, listed := list.Match(path)
		if _, same := again.Match(path); same != listed {
			t.Fatalf("%q: %v, and printed %v", path, listed, same)
		}
		list.Descend(path)
		list.Starts()
	})
}

// FuzzWalkFindsAll: whatever matches is found by a walk from the starts that
// goes where Descend says.
func FuzzWalkFindsAll(f *testing.F) {
	f.Add("/etc/{a/b,c}/*.d", "/etc/c/x.d/deep/er")
	f.Add("/srv/**/x", "/srv/a/b/x")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		list, err := Parse("f", []byte(pattern))
		if err != nil || !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.HasSuffix(path, "/") ||
			strings.ContainsRune(path, 0) || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
			return
		}
		if _, ok := list.Match(path); !ok {
			return
		}
		for _, start := range list.Starts() {
			if path == start {
				return
			}
			if start != "/" && !strings.HasPrefix(path, start+"/") {
				continue
			}
			reached := true
			for i := len(start) + 1; i < len(path); i++ {
				if path[i] == '/' && !list.Descend(path[:i]) {
					reached = false
				}
			}
			if reached && list.Descend(start) {
				return
			}
		}
		t.Fatalf("%q is on the list %q, and no walk from %q finds it", path, pattern, list.Starts())
	})
}
