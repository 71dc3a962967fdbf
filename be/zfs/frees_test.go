package zfs

import (
	"strings"
	"testing"

	"beadm/be"
)

// TestPlotDoom: constructed trees; what they would free is by hand.
func TestPlotDoom(t *testing.T) {
	asked := map[string]string{
		"zfs destroy -nvp p/ROOT/a@1%2":                      "destroy\tp/ROOT/a@1\ndestroy\tp/ROOT/a@2\nreclaim\t700\n",
		"zfs get -Hp -o value written@1 p/ROOT/a":            "50\n",
		"zfs get -Hp -o value written@p/ROOT/r@o p/ROOT/a@x": "400\n",
		"zfs get -Hp -o value written@p/ROOT/r@o p/ROOT/b@y": "350\n",
		"zfs get -Hp -o value written@p/ROOT/a@x p/ROOT/b@y": "100\n",
	}
	line := []string{"p/ROOT used=99999", "p/ROOT/r", "p/ROOT/r@o org.beadm:auto=create clones=p/ROOT/a used=5",
		"p/ROOT/a origin=p/ROOT/r@o used=1000 written=30", "p/ROOT/a@x org.beadm:auto=create clones=p/ROOT/b used=7",
		"p/ROOT/b origin=p/ROOT/a@x used=2000 written=40", "p/ROOT/b@y org.beadm:auto=create clones=p/ROOT/c used=9",
		"p/ROOT/c origin=p/ROOT/b@y used=3000 written=60"}
	for _, tt := range []struct {
		what  string
		tree  []string
		names string
		want  be.Frees
	}{
		{"all of it, with what is below", []string{"p/ROOT", "p/ROOT/a used=1000", "p/ROOT/a/var used=300", "p/ROOT/a@1 used=3"}, "a", be.Frees{Bytes: 1000}},
		{"its automatic origin, also below", []string{"p/ROOT", "p/ROOT/r", "p/ROOT/r@o org.beadm:auto=create clones=p/ROOT/a used=5", "p/ROOT/r/var", "p/ROOT/r/var@o clones=p/ROOT/a/var used=6",
			"p/ROOT/a used=1000 origin=p/ROOT/r@o", "p/ROOT/a/var used=300 origin=p/ROOT/r/var@o"}, "a", be.Frees{Bytes: 1011}},
		{"a user's origin stays", []string{"p/ROOT", "p/ROOT/r", "p/ROOT/r@o clones=p/ROOT/a used=5", "p/ROOT/a used=1000 origin=p/ROOT/r@o"}, "a", be.Frees{Bytes: 1000}},
		{"what is younger than what the heir gets", []string{"p/ROOT", "p/ROOT/a written=30 used=1000", "p/ROOT/a@1 used=3 clones=p/ROOT/b", "p/ROOT/a@2 used=4", "p/ROOT/b origin=p/ROOT/a@1"}, "a", be.Frees{Bytes: 54}},
		{"snapshots before it, together", []string{"p/ROOT", "p/ROOT/a written=30 used=1000", "p/ROOT/a@1 used=3", "p/ROOT/a@2 used=4", "p/ROOT/a@3 clones=p/ROOT/b", "p/ROOT/b origin=p/ROOT/a@3"}, "a", be.Frees{Bytes: 730}},
		{"a snapshot", []string{"p/ROOT", "p/ROOT/a", "p/ROOT/a@1 used=3", "p/ROOT/a/var", "p/ROOT/a/var@1 used=4"}, "a@1", be.Frees{Bytes: 7}},
		{"the first of a line", line, "a", be.Frees{Bytes: 30}},
		{"two of a line: what is between them and not in the third", line, "a b", be.Frees{Bytes: 30 + 40 + 400 - 350 + 100}},
		{"in the other order", line, "b a", be.Frees{Bytes: 30 + 40 + 400 - 350 + 100}},
		{"the whole line", line, "a b c", be.Frees{Bytes: 6005}},
		{"a clone outside", []string{"p/ROOT", "p/ROOT/a written=30", "p/ROOT/a@s clones=p/test"}, "a", be.Frees{Bytes: 30}},
		{"two heirs of one that goes", []string{"p/ROOT", "p/ROOT/a written=30", "p/ROOT/a@s clones=p/ROOT/b,p/ROOT/c", "p/ROOT/b origin=p/ROOT/a@s written=1", "p/ROOT/b@s clones=p/1",
			"p/ROOT/c origin=p/ROOT/a@s written=2", "p/ROOT/c@s clones=p/2"}, "a b c", be.Frees{Bytes: 33, AtLeast: true}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			d, err := plotDoom(grow(t, tt.tree...), "p/ROOT", strings.Fields(tt.names))
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.add(func(argv ...string) (string, error) {
				out, ok := asked[strings.Join(argv, " ")]
				if !ok {
					t.Errorf("it asks %v", argv)
				}
				return out, nil
			})
			if err != nil || got != tt.want {
				t.Errorf("it says %+v (%v), want %+v", got, err, tt.want)
			}
		})
	}
	for _, names := range []string{"missing", "a@missing", "a/var", "../x"} {
		if _, err := plotDoom(grow(t, "p/ROOT", "p/ROOT/a", "p/ROOT/a/var"), "p/ROOT", []string{names}); be.KindOf(err) != be.NotFound {
			t.Errorf("%s: %v", names, err)
		}
	}
}
