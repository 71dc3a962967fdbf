package manifest

import "testing"

// FuzzText: what is read as a name is written as one that reads the same.
func FuzzText(f *testing.F) {
	f.Add([]byte(`/etc/a\x0a\\b`))
	f.Add([]byte(`\x`))
	f.Add([]byte("\\xzz\xff\\"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var name, again Text
		if name.UnmarshalText(data) != nil {
			return
		}
		out, err := name.MarshalText()
		if err != nil || again.UnmarshalText(out) != nil || again != name {
			t.Fatalf("%q is %q, written %q, read %q: %v", data, name, out, again, err)
		}
	})
}
