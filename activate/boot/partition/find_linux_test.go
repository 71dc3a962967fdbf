package partition

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
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
		t.Fatalf("losetup: %v", err)
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
	if device, _, err := Find("", uuid); err == nil || !strings.Contains(err.Error(), "not assembled") || !strings.Contains(err.Error(), "mdadm --zero-superblock "+loop) {
		t.Errorf("half of a mirror was found as %q: %v", device, err)
	}
}

// TestOldSuperblock: a partition that was a mirror's once, and was made anew, is
// refused while it is mounted, before anything is set up on it.
func TestOldSuperblock(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: loop devices need root")
	}
	const size = 16 << 20
	image := filepath.Join(t.TempDir(), "image")
	err := os.WriteFile(image, nil, 0o600)
	if err == nil {
		err = os.Truncate(image, size)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-O", "^has_journal", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Fatalf("losetup: %v", err)
	}
	loop, dir := strings.TrimSpace(string(out)), t.TempDir()
	t.Cleanup(func() { exec.Command("losetup", "-d", loop).Run() })
	if err := unix.Mount(loop, dir, "ext4", 0, ""); err != nil {
		t.Skipf("NOT RUN: no ext4: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	if uuid, err := At(dir); err != nil || uuid == "" {
		t.Errorf("plain: %q %v", uuid, err)
	}
	dev, err := os.OpenFile(loop, os.O_WRONLY, 0)
	if err == nil {
		_, err = dev.WriteAt(binary.LittleEndian.AppendUint32(nil, 0xa92b4efc), size-8<<10)
		dev.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if uuid, err := At(dir); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), loop+" has the superblock") {
		t.Errorf("with an old superblock: %q %v", uuid, err)
	}
}

// TestAMemberInUseKeepsItsSuperblock: nobody is told to take it off.
func TestAMemberInUseKeepsItsSuperblock(t *testing.T) {
	block := filepath.Join(t.TempDir(), "sda1")
	if err := os.MkdirAll(filepath.Join(block, "holders", "md0"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errMember(block); !strings.Contains(err.Error(), "/dev/sda1 is a member of the mirror md0") || strings.Contains(err.Error(), "zero-superblock") {
		t.Error(err)
	}
}
