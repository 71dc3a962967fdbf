package render

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"beadm/activate"
	"beadm/sync"
	"beadm/sync/manifest"
)

// Of every byte that is not UTF-8's it is what cat -v says.
func TestVisibleAsCat(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c), 'x') // none of two makes a character
	}
	cmd := exec.Command("cat", "-v")
	cmd.Stdin = bytes.NewReader(all)
	want, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := Visible(string(all)); got != string(want) {
		t.Errorf("%q\nwanted\n%q", got, want)
	}
	for in, want := range map[string]string{
		"ä €\u00a0日本\n": "ä €\u00a0日本\n", "\u009b31m": "M-BM-^[31m", "\u0080\u009f": "M-BM-^@M-BM-^_", "a\u202eb": "aM-bM-^@M-.b",
	} {
		if got := Visible(in); got != want {
			t.Errorf("%q is %q, wanted %q", in, got, want)
		}
	}
}

// A file, its name and a link's target are anybody's: nothing of them steers the
// terminal, and JSON is UTF-8.
func TestDiffHoldsNoControls(t *testing.T) {
	const evil = "\x1b]0;title\a\x1b[2J\u009b31m\r\xff\x7f\u202e"
	file := &manifest.Entry{Type: manifest.File, Mode: 0o644}
	c := activate.OpenConflict{Item: reconcile.Item{Path: manifest.Text("/etc/" + evil), Reason: "changed there and here"}}
	sides := reconcile.Sides{
		Base:     reconcile.Side{Entry: file, Known: true, Data: []byte("one\n" + evil + "\n")},
		Outgoing: reconcile.Side{Entry: file, Known: true, Data: []byte("two\n" + evil + "!\n")},
		Incoming: reconcile.Side{Entry: &manifest.Entry{Type: manifest.Link, Target: evil}, Known: true},
	}
	d := Differences(c, sides)
	var text, js bytes.Buffer
	if err := DiffText(&text, d); err != nil {
		t.Fatal(err)
	}
	if err := JSON(&js, d); err != nil {
		t.Fatal(err)
	}
	if err := SyncReport(&text, reconcile.Report{Items: []reconcile.Item{c.Item}}); err != nil {
		t.Fatal(err)
	}
	if err := Conflicts(&text, []activate.OpenConflict{c}); err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]string{"text": text.String(), "json": js.String()} {
		if i := strings.IndexFunc(out, func(r rune) bool {
			return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError
		}); i >= 0 {
			t.Errorf("%s has %q:\n%q", name, out[i:i+1], out)
		}
	}
	var back Diff
	if err := json.Unmarshal(js.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if want := "-one\n+two\n"; len(back.Changes) == 0 || !strings.Contains(back.Changes[0], "^[[2JM-BM-^[31m^MM-^?^?") {
		t.Errorf("changes %q, wanted %q", back.Changes, want)
	}
	if back.Path != c.Path {
		t.Errorf("the path is %q", back.Path)
	}
}
