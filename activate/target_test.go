package activate

import (
	"testing"

	"beadm/be"
)

// What is in /run is the host's: the state of a guest, or of a store on another
// pool that is changed from here, neither writes it nor takes it away.
func TestOfHost(t *testing.T) {
	for _, c := range []struct {
		root string
		all  []be.BE
		want bool
	}{
		{"/", []be.BE{{Name: "a"}, {Name: "b", Running: true}}, true},
		{"/", []be.BE{{Name: "a"}}, false},
		{"/guest", []be.BE{{Name: "a", Running: true}}, false},
	} {
		s := &Session{Target: &Target{Store: upgraded{all: c.all}, Root: c.root}}
		if got := s.ofHost(); got != c.want {
			t.Errorf("%s %+v: %v", c.root, c.all, got)
		}
	}
}
