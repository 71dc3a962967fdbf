package activate

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"beadm/be/rooted"
)

// The hooks stand where the tools of the boot environment look for them, and
// nowhere else.
func TestKernelHooks(t *testing.T) {
	for _, c := range []struct{ there, want []string }{
		{nil, nil},
		{[]string{"etc/kernel/postinst.d/x"}, []string{"etc/kernel/postinst.d/zz-beadm"}},
		{
			[]string{"etc/kernel/postinst.d/x", "etc/kernel/postrm.d/x", "usr/sbin/update-initramfs"},
			[]string{"etc/initramfs/post-update.d/zz-beadm", "etc/kernel/postinst.d/zz-beadm", "etc/kernel/postrm.d/zz-beadm"},
		},
		{[]string{"etc/kernel/postinst.d"}, nil}, // a file
	} {
		dir := t.TempDir()
		for _, name := range c.there {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		root, err := rooted.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := putKernelHooks(root); err != nil {
				t.Errorf("%q: %v", c.there, err)
			}
		}
		root.Close()
		var got []string
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if d.Name() == "zz-beadm" {
				rel, _ := filepath.Rel(dir, path)
				got = append(got, rel)
				if info, err := d.Info(); err != nil || info.Mode() != 0o755 {
					t.Errorf("%s: %v %v", rel, info.Mode(), err)
				}
			}
			return err
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("with %q there is %q, want %q", c.there, got, c.want)
		}
	}
}
