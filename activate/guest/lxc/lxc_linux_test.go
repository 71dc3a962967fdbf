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
lxc.sysctl.net.ipv4.tcp_fin_timeout = 61
%s`

var idmap = fmt.Sprintf("lxc.include = /usr/share/lxc/config/userns.conf\nlxc.idmap = u 0 %[1]d 65536\nlxc.idmap = g 0 %[1]d 65536\n", guesttest.FirstID)

func TestContract(t *testing.T) {
	disk := guesttest.NewDisk(t, "../../../testdata/demo/cached.sh")
	t.Run("privileged", func(t *testing.T) {
		guesttest.Run(t, newScene(t, disk, "root", ""))
	})
	t.Run("ids of its own", func(t *testing.T) {
		// Debian's newuidmap, if it is there, lets root take only what
		// /etc/subuid gives it; without it LXC asks nobody.
		bin := t.TempDir()
		for _, program := range []string{"lxc-start", "lxc-stop", "lxc-info", "lxc-attach", "btrfs", "sleep"} {
			at, err := exec.LookPath(program)
			check(t, err)
			check(t, os.Symlink(at, filepath.Join(bin, program)))
		}
		t.Setenv("PATH", bin)
		scene := newScene(t, disk, "ids", idmap)
		scene.Own = guesttest.Shift
		guesttest.Run(t, scene)
	})
}

// With their roots on ZFS: this package's test binary is run where there is one,
// with the name of a dataset that is mounted, the archive of a Debian, the disk of
// the pool and the program guesttest/intruder.
func TestContractOnZFS(t *testing.T) {
	top := os.Getenv("BEADM_CONTAINERS")
	if top == "" {
		t.Skip("NOT RUN: BEADM_CONTAINERS names no dataset for containers; make test-long runs this on real ZFS")
	}
	disk := guesttest.NewDatasets(t, top, os.Getenv("BEADM_MACHINES_TAR"), os.Getenv("BEADM_MACHINES_DISK"), os.Getenv("BEADM_INTRUDER"))
	t.Run("privileged", func(t *testing.T) {
		guesttest.Run(t, newScene(t, disk, "root", ""))
	})
	t.Run("ids of its own", func(t *testing.T) {
		scene := newScene(t, disk, "ids", idmap)
		scene.Own = guesttest.Shift
		guesttest.Run(t, scene)
	})
}

func newScene(t *testing.T, disk *guesttest.Disk, kind, more string) guesttest.Scene {
	t.Helper()
	if _, err := exec.LookPath("lxc-start"); err != nil {
		t.Fatalf("Debian's package lxc is needed: %v", err)
	}
	path := filepath.Join(disk.Top, "lxc-"+kind)
	name := fmt.Sprintf("beadm-test-%d-%s", os.Getpid(), kind)
	root := filepath.Join(path, name, "rootfs")
	check(t, os.MkdirAll(filepath.Dir(root), 0o755))
	check(t, os.WriteFile(filepath.Join(path, name, "config"), fmt.Appendf(nil, containerConfig, name, root, more), 0o644))
	dir := t.TempDir()
	for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		check(t, os.Chmod(up, 0o755))
	}
	t.Cleanup(func() {
		os.RemoveAll(filepath.Join(lockDir, disk.Top))
		os.RemoveAll(filepath.Join(lockDir, filepath.Dir(dir)))
		// LXC leaves some of its own behind when a start fails.
		left, _ := filepath.Glob("/sys/fs/cgroup/*/lxc.*." + name + "*")
		also, _ := filepath.Glob("/sys/fs/cgroup/lxc.*." + name + "*")
		for _, dir := range append(left, also...) {
			os.Remove(dir)
		}
	})
	return guesttest.Scene{Runtime: New(Config{Path: path, Dir: dir}), Guest: name, Root: root, Disk: disk}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
