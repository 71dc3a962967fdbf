package lxc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"beadm/activate/guest/guesttest"
)

// containerConfig is a privileged system container as Debian's lxc makes one,
// without its network and, for this kernel may not have it, AppArmor.
const containerConfig = `lxc.include = /usr/share/lxc/config/common.conf
lxc.uts.name = %s
lxc.rootfs.path = btrfs:%s
lxc.net.0.type = empty
lxc.apparmor.profile = unconfined
`

func TestContract(t *testing.T) {
	if _, err := exec.LookPath("lxc-start"); err != nil {
		t.Fatalf("Debian's package lxc is needed: %v", err)
	}
	disk := guesttest.NewDisk(t, "../../../testdata/demo/cached.sh")
	path := filepath.Join(disk.Top, "lxc")
	name := fmt.Sprintf("beadm-test-%d", os.Getpid())
	root := filepath.Join(path, name, "rootfs")
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, name, "config"), fmt.Appendf(nil, containerConfig, name, root), 0o644); err != nil {
		t.Fatal(err)
	}
	guesttest.Run(t, guesttest.Scene{Runtime: New(Config{Path: path, Dir: t.TempDir()}), Guest: name, Root: root, Disk: disk})
}
