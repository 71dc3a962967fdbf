package activate

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"beadm/be/state"
)

// Of what watches a trial nothing stays behind it, and all of another's does.
func TestTrialUnitsGoAgain(t *testing.T) {
	for name, trial := range map[string]state.Trial{"trial": {}, "by hand": {NoAutoConfirm: true}, "once": {Once: true}} {
		dir := t.TempDir()
		mine := filepath.Join(dir, "emergency.service.d/mine.conf")
		if err := os.MkdirAll(filepath.Dir(mine), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(mine, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		trial.Activation, trial.ConfirmWithin = "a1", time.Minute
		if err := putTrialUnits(dir, &trial); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "beadm-deadman.service")); (err == nil) == trial.Once {
			t.Errorf("%s: the dead-man timer: %v", name, err)
		}
		for _, want := range []bool{true, false} {
			if did, err := dropTrialUnits(dir); err != nil || did != want {
				t.Errorf("%s: took something away: %v, %v", name, did, err)
			}
		}
		var left []string
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				left = append(left, path)
			}
			return nil
		})
		if len(left) != 1 || left[0] != mine {
			t.Errorf("%s: left are %q", name, left)
		}
	}
}
