package account

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// pwck and grpck have nothing against what a merge makes, where they had
// nothing against its sides.
func TestPwckAndGrpck(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	sound := func(t *rapid.T, db Database) string {
		for kind, f := range db {
			if err := os.WriteFile(dir+kind.Path(), f.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, tool := range [][]string{{"pwck", "-r", "-q", "-R", dir}, {"grpck", "-r", "-R", dir}} {
			out, err := exec.Command(tool[0], tool[1:]...).CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatalf("%s (Debian package passwd): %v", tool[0], err)
			}
			if err != nil {
				return tool[0] + ": " + string(out)
			}
		}
		return ""
	}
	judged := 0
	rapid.Check(t, func(t *rapid.T) {
		old, new := ParseAll(drawDB(t, "old")), ParseAll(drawDB(t, "new"))
		base, cur := ParseAll(drawDB(t, "base")), ParseAll(drawDB(t, "cur"))
		if sound(t, new) != "" || sound(t, cur) != "" {
			return
		}
		judged++
		d := DiffAll(old, new)
		for name, d := range map[string]Deltas{"all": d, "what takes rights away": d.Security()} {
			res, events := Merge(d, new, base, cur)
			if wrong := sound(t, res); wrong != "" {
				t.Fatalf("%s: %s\n%s\n%v", name, wrong, text(res), events)
			}
		}
		res, _ := Unite(new, cur)
		if wrong := sound(t, res); wrong != "" {
			t.Fatalf("united: %s\n%s", wrong, text(res))
		}
	})
	if judged == 0 {
		t.Error("no sides were sound")
	}
	t.Logf("%d merges", 3*judged)
}
