package stub

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/loadertest"
)

func TestContract(t *testing.T) {
	loadertest.Run(t, func(t *testing.T) loadertest.Fixture {
		dir := filepath.Join(t.TempDir(), "loader")
		return loadertest.Fixture{
			Loader: func(step func(string) error) boot.Loader {
				return New(Config{Dir: dir, Disk: durable.Disk{Step: step}})
			},
			Play: func() (loadertest.Played, error) {
				id, trial, err := Consume(dir)
				return loadertest.Played{ID: id, Trial: trial}, err
			},
		}
	})
}

// TestTable runs the truth table but for what this loader has not: a second
// copy of the default, kernels to load, other entries to fall back to.
func TestTable(t *testing.T) {
	ran := 0
	for _, row := range loadertest.Rows() {
		if len(row.NoLoad) > 0 || slices.Contains(row.Broken, row.Default) || row.Special && row.Name != "trial cannot be consumed for want of room" ||
			row.Name == "default has no entry" || row.Name == "variables not there" || row.Name == "trial, no default in env" || row.Name == "trial is no id" {
			continue
		}
		ran++
		t.Run(row.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "loader")
			l := New(Config{Dir: dir})
			if err := l.Install(t.Context(), loadertest.Entry("a", "A")); err != nil {
				t.Fatal(err)
			}
			for _, id := range row.Entries {
				if err := l.Put(t.Context(), loadertest.Entry(id[1:2], id)); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range row.Broken {
				if err := os.Truncate(l.entry(id), 40); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(l.env(), row.Env, 0o600); err != nil {
				t.Fatal(err)
			}
			if row.ReadOnly {
				l.disk.Step = func(string) error { return errors.New("read-only file system") }
			}
			id, trial, err := consume(l)
			if got := (loadertest.Played{ID: id, Trial: trial}); err != nil || !row.Right(got) {
				t.Errorf("boots %+v %v, want %+v", got, err, row.Want)
			}
			if after, _ := os.ReadFile(l.env()); !bytes.Equal(after, row.After) {
				t.Errorf("environment is %q, want %q", after, row.After)
			}
		})
	}
	if ran < 8 {
		t.Errorf("only %d cases apply", ran)
	}
}
