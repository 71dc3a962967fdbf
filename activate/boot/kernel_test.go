package boot

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"beadm/be"
)

// grow makes a tree: "path" is a file with content, "path/" a directory,
// "path -> target" a link, "path 0" an empty file.
func grow(t *testing.T, spec ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, s := range spec {
		name, target, isLink := strings.Cut(s, " -> ")
		content := []byte("content")
		if n, ok := strings.CutSuffix(name, " 0"); ok {
			name, content = n, nil
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindKernel(t *testing.T) {
	outside := grow(t, "vmlinuz-9", "initrd.img-9")
	for _, c := range []struct {
		name    string
		tree    []string
		kernel  string
		initrd  string
		release string
		err     string
	}{
		{"nothing", nil, "", "", "", "no kernel: there is neither"},
		{"link", []string{"vmlinuz -> boot/vmlinuz-6.1.0-1", "boot/vmlinuz-6.1.0-1", "boot/initrd.img-6.1.0-1", "lib/modules/6.1.0-1/modules.dep"},
			"/boot/vmlinuz-6.1.0-1", "/boot/initrd.img-6.1.0-1", "6.1.0-1", ""},
		{"link before newest", []string{"vmlinuz -> boot/vmlinuz-5", "boot/vmlinuz-5", "boot/initrd.img-5", "lib/modules/5/x", "boot/vmlinuz-6", "boot/initrd.img-6", "lib/modules/6/x"},
			"/boot/vmlinuz-5", "/boot/initrd.img-5", "5", ""},
		{"absolute link, merged usr", []string{"boot/vmlinuz -> /boot/vmlinuz-6", "boot/vmlinuz-6", "boot/initrd.img-6", "lib -> usr/lib", "usr/lib/modules/6/x"},
			"/boot/vmlinuz-6", "/boot/initrd.img-6", "6", ""},
		{"newest", []string{"boot/vmlinuz-6.1.0-9", "boot/initrd.img-6.1.0-9", "lib/modules/6.1.0-9/x", "boot/vmlinuz-6.1.0-10", "boot/initrd.img-6.1.0-10", "lib/modules/6.1.0-10/x"},
			"/boot/vmlinuz-6.1.0-10", "/boot/initrd.img-6.1.0-10", "6.1.0-10", ""},
		{"newest that is whole", []string{"boot/vmlinuz-6", "boot/initrd.img-6", "lib/modules/6/x", "boot/vmlinuz-7", "lib/modules/7/x", "boot/vmlinuz-8", "boot/initrd.img-8"},
			"/boot/vmlinuz-6", "/boot/initrd.img-6", "6", ""},
		{"dracut", []string{"boot/vmlinuz-6.fc", "boot/initramfs-6.fc.img", "lib/modules/6.fc/x"}, "/boot/vmlinuz-6.fc", "/boot/initramfs-6.fc.img", "6.fc", ""},
		{"kernel in modules", []string{"boot/vmlinuz -> ../usr/lib/modules/6/vmlinuz-6", "usr/lib/modules/6/vmlinuz-6", "boot/initrd-6", "lib -> usr/lib"},
			"/usr/lib/modules/6/vmlinuz-6", "/boot/initrd-6", "6", ""},
		{"half installed", []string{"boot/vmlinuz-7.dpkg-new", "boot/initrd.img-7.dpkg-new", "lib/modules/7.dpkg-new/x"}, "", "", "", "no kernel: there is neither"},
		{"dangling link", []string{"vmlinuz -> boot/vmlinuz-6"}, "", "", "", "/vmlinuz, which is /boot/vmlinuz-6, is missing"},
		{"link out", []string{"vmlinuz -> " + outside + "/vmlinuz-9", "boot/initrd.img-9", "lib/modules/9/x"}, "", "", "", "is missing"},
		{"initrd out", []string{"boot/vmlinuz-9", "boot/initrd.img-9 -> " + outside + "/initrd.img-9", "lib/modules/9/x"}, "", "", "", "no initrd"},
		{"empty kernel", []string{"boot/vmlinuz-6 0", "boot/initrd.img-6", "lib/modules/6/x"}, "", "", "", "kernel /boot/vmlinuz-6 is empty"},
		{"empty initrd", []string{"boot/vmlinuz-6", "boot/initrd.img-6 0", "lib/modules/6/x"}, "", "", "", "initrd, /boot/initrd.img-6, that is empty"},
		{"no initrd", []string{"boot/vmlinuz-6", "boot/initrd.img-5", "lib/modules/6/x"}, "", "", "", "there is no /boot/initrd.img-6"},
		{"no modules", []string{"boot/vmlinuz-6", "boot/initrd.img-6", "lib/modules/5/x"}, "", "", "", "/lib/modules/6 is missing"},
		{"empty modules", []string{"boot/vmlinuz-6", "boot/initrd.img-6", "lib/modules/6/"}, "", "", "", "/lib/modules/6 is empty"},
		{"directory", []string{"boot/vmlinuz-6/", "boot/initrd.img-6", "lib/modules/6/x"}, "", "", "", "not a regular file"},
		{"loop", []string{"vmlinuz -> vmlinuz"}, "", "", "", "cannot be followed"},
		{"no release", []string{"boot/vmlinuz", "boot/initrd.img"}, "", "", "", "does not say which release"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, i, r, err := FindKernel(context.Background(), grow(t, c.tree...))
			if k != c.kernel || i != c.initrd || r != c.release {
				t.Errorf("%q %q %q %v", k, i, r, err)
			}
			if (c.err == "") != (err == nil) || err != nil && (be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestReleaseInsideKernel(t *testing.T) {
	dir := grow(t, "boot/vmlinuz", "boot/initrd.img-6.1.0-50-cloud-amd64", "lib/modules/6.1.0-50-cloud-amd64/x")
	kernel := make([]byte, 0x4000)
	copy(kernel[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(kernel[0x20e:], 0x3000)
	copy(kernel[0x3200:], "6.1.0-50-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP\x00")
	if err := os.WriteFile(filepath.Join(dir, "boot/vmlinuz"), kernel, 0o644); err != nil {
		t.Fatal(err)
	}
	k, _, r, err := FindKernel(context.Background(), dir)
	if k != "/boot/vmlinuz" || r != "6.1.0-50-cloud-amd64" || err != nil {
		t.Errorf("%q %q %v", k, r, err)
	}
}

// TestInitrdOfTheKernelsName: the release inside a kernel is that of another
// one's initrd, too.
func TestInitrdOfTheKernelsName(t *testing.T) {
	kernel := make([]byte, 0x4000)
	copy(kernel[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(kernel[0x20e:], 0x3000)
	copy(kernel[0x3200:], "6.1 (root@here) #1 SMP\x00")
	for _, c := range []struct{ name, initrds, want string }{
		{"vmlinuz-6.1-local", "initrd.img-6.1 initrd.img-6.1-local", "/boot/initrd.img-6.1-local"},
		{"vmlinuz-6.1-local", "initrd.img-6.1 initramfs-6.1-local.img", "/boot/initramfs-6.1-local.img"},
		{"vmlinuz-6.1-local", "initrd.img-6.1 initrd.img-6.1-loc", "/boot/initrd.img-6.1"},
		{"vmlinuz-6", "initrd.img-6.1 initrd.img-6", "/boot/initrd.img-6"},
		{"vmlinuz-linux", "initramfs-linux.img", "/boot/initramfs-linux.img"},
		{"vmlinuz", "initrd.img-6.1 initrd.img-vmlinuz", "/boot/initrd.img-6.1"},
	} {
		tree := []string{"boot/", "lib/modules/6.1/x"}
		for _, i := range strings.Fields(c.initrds) {
			tree = append(tree, "boot/"+i)
		}
		dir := grow(t, tree...)
		if err := os.WriteFile(filepath.Join(dir, "boot", c.name), kernel, 0o644); err != nil {
			t.Fatal(err)
		}
		if k, i, r, err := FindKernel(t.Context(), dir); err != nil || i != c.want || r != "6.1" {
			t.Errorf("%s with %s: %q %q %q %v, want %s", c.name, c.initrds, k, i, r, err, c.want)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"", "5.10.0-9", "5.10.0-10", "6.1~rc1", "6.1", "6.1-1", "6.1.0-9-amd64", "6.1.0-9-cloud-amd64", "6.1.0-10-amd64", "6.01.1", "6.10", "10.0"}
	for i, a := range ordered {
		for j, b := range ordered {
			if c := compareVersions(a, b); (c < 0) != (i < j) || (c > 0) != (i > j) {
				t.Errorf("%q and %q: %d", a, b, c)
			}
		}
	}
	if compareVersions("6.01", "6.1") != 0 {
		t.Error("leading zeros count")
	}
}

// TestAgainstDpkg asks the owner of the order.
func TestAgainstDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("NOT RUN: dpkg is missing: the order of versions is held against nothing but our own reading of it")
	}
	versions := []string{"6.1.0-9-amd64", "6.1.0-10-amd64", "6.1~rc2-amd64", "6.1-amd64", "6.1.0+deb12-amd64", "6.1.0a", "6.1.0.1"}
	for _, a := range versions {
		for _, b := range versions {
			op := "eq"
			switch c := compareVersions(a, b); {
			case c < 0:
				op = "lt"
			case c > 0:
				op = "gt"
			}
			if err := exec.Command("dpkg", "--compare-versions", "0:"+a+"-0", op, "0:"+b+"-0").Run(); err != nil {
				t.Errorf("dpkg: %q %s %q is wrong", a, op, b)
			}
		}
	}
	if !slices.IsSortedFunc([]string{"6.1.0-9", "6.1.0-10"}, compareVersions) {
		t.Error("9 after 10")
	}
}
