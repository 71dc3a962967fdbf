package partition

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFind looks among this machine's block devices. What is half of a mirror
// is never taken for the whole.
func TestFind(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: loop devices need root")
	}
	const size = 16 << 20
	image := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%08X", os.Getpid()|0x80000000)
	if out, err := exec.Command("mkfs.vfat", "-i", id, image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.vfat: %v: %s (Debian package dosfstools)", err, out)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Skipf("NOT RUN: no loop device: %v", err)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "-d", loop).Run() })
	uuid := id[:4] + "-" + id[4:]
	if device, fs, err := Find("", strings.ToLower(uuid)); err != nil || device != loop || fs != "vfat" {
		t.Errorf("found %q %q %v, want %q", device, fs, err, loop)
	}
	dev, err := os.OpenFile(loop, os.O_WRONLY, 0)
	if err == nil {
		_, err = dev.WriteAt(binary.LittleEndian.AppendUint32(nil, 0xa92b4efc), size-8<<10)
		dev.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if device, _, err := Find("", uuid); err == nil || !strings.Contains(err.Error(), "not assembled") {
		t.Errorf("half of a mirror was found as %q: %v", device, err)
	}
}
