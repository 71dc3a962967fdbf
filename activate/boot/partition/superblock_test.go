package partition

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The tools that make these file systems and blkid, which reads them, are the
// owners of the format.
func TestIdentifyAgreesWithBlkid(t *testing.T) {
	for _, mk := range [][]string{
		{"mkfs.vfat", "-F", "16", "-i", "BEADBEAD"},
		{"mkfs.vfat", "-F", "32", "-i", "12AB34CD"},
		{"mkfs.ext4", "-q"},
		{"mkfs.ext2", "-q"},
	} {
		image := filepath.Join(t.TempDir(), "image")
		f, err := os.Create(image)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.Truncate(64 << 20)
		if out, err := exec.Command(mk[0], append(mk[1:], image)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s (Debian packages dosfstools and e2fsprogs)", mk, err, out)
		}
		want, err := exec.Command("blkid", "-p", "-o", "value", "-s", "UUID", image).Output()
		if err != nil {
			t.Fatalf("blkid: %v", err)
		}
		if _, got := Identify(f); got != strings.TrimSpace(string(want)) {
			t.Errorf("%v: got %q, blkid says %q", mk, got, want)
		}
	}
	zero, _ := os.Open("/dev/zero")
	defer zero.Close()
	if fs, uuid := Identify(zero); fs != "" || uuid != "" {
		t.Errorf("zeros are %q %q", fs, uuid)
	}
}
