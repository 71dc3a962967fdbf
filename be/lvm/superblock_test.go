package lvm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSuperblock: what mkfs made is read as blkid reads it.
func TestSuperblock(t *testing.T) {
	for _, argv := range [][]string{
		{"ext4", "mkfs.ext4", "-q", "-F", "-L", "a label"},
		{"ext4", "mkfs.ext2", "-q", "-F"},
		{"btrfs", "mkfs.btrfs", "-q"},
	} {
		img := filepath.Join(t.TempDir(), "img")
		if err := os.WriteFile(img, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(img, 120<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(argv[1], append(argv[2:], img)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
		f, err := os.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, superblockSize)
		if _, err := f.Read(b); err != nil {
			t.Fatal(err)
		}
		f.Close()
		sb := readSuperblock(b)
		if sb.kind != argv[0] {
			t.Errorf("%s made %+v", argv[1], sb)
		}
		if sb.kind != "ext4" {
			continue
		}
		for tag, got := range map[string]string{"UUID": sb.uuid, "LABEL": sb.label} {
			want, _ := exec.Command("blkid", "-p", "-s", tag, "-o", "value", img).Output()
			if strings.TrimSuffix(string(want), "\n") != got {
				t.Errorf("of %s the %s is %q, blkid says %q", argv[1], tag, got, want)
			}
		}
	}
	xfs := make([]byte, superblockSize)
	copy(xfs, "XFSB")
	copy(xfs[32:], "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef")
	copy(xfs[108:], "lab")
	if sb := readSuperblock(xfs); sb != (superblock{"xfs", "01234567-89ab-cdef-0123-456789abcdef", "lab"}) || sb.mountOptions() != "nouuid" {
		t.Errorf("a constructed xfs is %+v", sb)
	}
	for _, b := range [][]byte{nil, make([]byte, 100), make([]byte, superblockSize)} {
		if sb := readSuperblock(b); sb.kind != "" {
			t.Errorf("%d zeros are %+v", len(b), sb)
		}
	}
}
