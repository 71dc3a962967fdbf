package manifest

import (
	"strconv"
	"testing"
)

// However long a log is, few hashes are kept, each of the length it stands for.
func TestBeginsStaySmall(t *testing.T) {
	b := Begins{Step: Inline}
	for range 5000 {
		b.add(strconv.FormatInt(b.next(), 10))
	}
	if n := len(b.Hashes); n < maxBegins/2 || n >= maxBegins {
		t.Errorf("%d hashes", n)
	}
	if b.Blob != strconv.Itoa(Inline) {
		t.Errorf("the first bytes are %s", b.Blob)
	}
	for i, hash := range b.Hashes {
		if want := strconv.FormatInt(b.Step*int64(i+1), 10); hash != want {
			t.Fatalf("%d is %s, not %s", i, hash, want)
		}
	}
}
