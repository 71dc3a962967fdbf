package lines

import (
	"bytes"
	"testing"
)

// FuzzMerge: texts of any bytes are merged without panic, alike from both sides,
// and a change of one side only is what that side has.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), []byte("a\nB\nc\n"), []byte("a\nb\nC"))
	f.Add([]byte(""), []byte("\n\n"), []byte("x"))
	f.Add([]byte("a\r\n"), []byte("a\r\nb"), []byte("\xff\n"))
	f.Fuzz(func(t *testing.T, old, new, cur []byte) {
		a, ok1 := Merge(old, new, cur)
		b, ok2 := Merge(old, cur, new)
		if ok1 != ok2 || !bytes.Equal(a, b) {
			t.Fatalf("from one side %q %v, from the other %q %v", a, ok1, b, ok2)
		}
		if got, ok := Merge(old, new, old); ok && !bytes.Equal(got, new) {
			t.Fatalf("changed there only: %q, not %q", got, new)
		}
		if got, ok := Merge(old, old, cur); ok && !bytes.Equal(got, cur) {
			t.Fatalf("changed here only: %q, not %q", got, cur)
		}
		once := Set(old, new, cur)
		if again := Set(old, new, once); !bytes.Equal(again, once) {
			t.Fatalf("as a set once %q, twice %q", once, again)
		}
		for _, l := range split(ended(Removed(old, new))) {
			if !bytes.Contains(append([]byte("\n"), ended(old)...), []byte("\n"+l)) {
				t.Fatalf("%q came by taking away", l)
			}
		}
		if _, err := Unified(old, new, "a", "b"); err != nil && err != ErrNotText {
			t.Fatal(err)
		}
	})
}
