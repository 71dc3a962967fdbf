package render

import (
	"strings"
	"testing"
	"time"

	"beadm/activate"
	"beadm/be"
)

func TestTreeText(t *testing.T) {
	var list []activate.Listed
	for _, row := range []string{"a", "b a@1", "c b@2", "d a@1", "e gone@3", "x y@1", "y x@1"} {
		name, origin, _ := strings.Cut(row, " ")
		list = append(list, activate.Listed{BE: be.BE{Name: name, Origin: origin, Created: time.Unix(0, 0), Running: name == "a", Incomplete: name == "d"}})
	}
	var out strings.Builder
	if err := TreeText(&out, Lineage(list), true); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		f := strings.Fields(line)
		got = append(got, strings.TrimRight(line[:strings.Index(line, f[len(f)-4])], " ")+" "+f[len(f)-4]+" "+f[len(f)-1])
	}
	want := []string{" BE From", "a N -", "├─ b - 1", "│  └─ c - 2", "└─ d ! 1", "e - -", "x - -", "└─ y - 1"}
	if strings.Join(got[1:], "\n") != strings.Join(want[1:], "\n") {
		t.Errorf("%q\nnot\n%q\n%s", got, want, out.String())
	}
}
