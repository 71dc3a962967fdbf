package activate

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be/rooted"
)

// listed is what there is below dir.
func listed(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		data, _ := os.ReadFile(path)
		info, err := d.Info()
		fmt.Fprintf(&b, "%s %v %q\n", strings.TrimPrefix(path, dir), info.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A move that fails before its commit leaves the hidden /boot as it was, however
// far it has come; a copy that is not the same is not taken for one.
func TestMoveBootUndone(t *testing.T) {
	dir, part := t.TempDir(), t.TempDir()
	put := func(path, text string) {
		t.Helper()
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(dir+"/boot/hidden/deep", "1")
	put(dir+"/boot/grub", "hidden too")
	put(part+"/grub/grub.cfg", "menu")
	put(part+"/vmlinuz", "kernel")
	if err := os.MkdirAll(dir+"/boot/efi/deep", 0o755); err != nil {
		t.Fatal(err)
	}
	before := listed(t, dir)
	root, err := rooted.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	from, err := rooted.Open(part)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	ctx := context.Background()
	for far := 1; far <= 3; far++ {
		aside, err := beginCopy(root)
		if err == nil && far > 1 {
			err = copyBoot(ctx, from, root)
		}
		if err == nil && far > 2 {
			err = uncover(from, root)
		}
		if err != nil {
			t.Fatal(err)
		}
		if far == 2 {
			put(dir+copyDir+"/vmlinuz", "kerne1")
			if err := sameBoot(ctx, from, root); err == nil || !strings.Contains(err.Error(), "/boot/vmlinuz is not what it should be") {
				t.Errorf("a copy that is not the same: %v", err)
			}
		}
		if err := dropCopy(root, aside); err != nil {
			t.Fatal(err)
		}
		// /boot itself has the mode of the other's top by then.
		if after := listed(t, dir); far < 3 && after != before {
			t.Errorf("undone, from step %d, it is\n%s, not\n%s", far, after, before)
		} else if far == 3 && !strings.Contains(after, `/boot/grub -rw-r--r-- "hidden too"`) {
			t.Errorf("undone it is\n%s", after)
		}
	}
}
