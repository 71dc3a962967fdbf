package rooted

import "testing"

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"/a/ä b": "/a/ä b", "/a\nb": `/a\x0ab`, "/\x1b[2J": `/\x1b[2J`, "/\xff\xfe": `/\xff\xfe`, `/a\x0a`: `/a\\x0a`, "/\u009b": `/\xc2\x9b`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q is %q, not %q", in, got, want)
		}
	}
}
