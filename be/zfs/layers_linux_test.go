package zfs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDiskPulledOut has a pool whose disk was pulled out, and which does not
// know yet, be looked at by the others: the way back must not hang on it.
func TestDiskPulledOut(t *testing.T) {
	there := filepath.Join(t.TempDir(), "vdev")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := layers([]string{there + ".gone", there}); err != nil || names != nil {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := layers([]string{there + ".gone"}); err == nil {
		t.Error("a pool of which nothing is there was looked at")
	}
}

// TestNodeWithoutADevice: /dev has a name that outlived its disk, of which sysfs
// knows nothing or has a link that leads nowhere.
func TestNodeWithoutADevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: device nodes need root")
	}
	top := t.TempDir()
	was := sysBlock
	sysBlock = filepath.Join(top, "sys")
	t.Cleanup(func() { sysBlock = was })
	if err := os.MkdirAll(filepath.Join(top, "dm-0/dm"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "dm-0/dm/uuid"), []byte("CRYPT-LUKS2-0123-root\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(sysBlock, 0o755); err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for minor, leads := range []string{"", "../gone", "../dm-0"} {
		node := filepath.Join(top, fmt.Sprint("node", minor))
		if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(240, uint32(minor)))); err != nil {
			t.Skipf("NOT RUN: no device nodes: %v", err)
		}
		if leads != "" {
			if err := os.Symlink(leads, filepath.Join(sysBlock, fmt.Sprintf("240:%d", minor))); err != nil {
				t.Fatal(err)
			}
		}
		nodes = append(nodes, node)
	}
	for n, want := range [][]string{1: {"unknown_devices"}, 2: {"unknown_devices"}, 3: {"dm-crypt"}} {
		if n == 0 {
			continue
		}
		if got, err := layers(nodes[:n]); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d of them: %q %v, want %q", n, got, err, want)
		}
	}
}
