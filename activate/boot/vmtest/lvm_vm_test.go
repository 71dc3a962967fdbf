//go:build linux && vm

package vmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The contract suite of Store on real LVM: the package's own test binary, run in
// guests. make test-vm has what an administrator does first, and what only LVM
// can get wrong; make test-long all of it, in two halves side by side.
func TestVMLVMStoreContract(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "lvm.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, "beadm/be/lvm")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the suite: %v: %s", err, out)
	}
	xfs := filepath.Join(t.TempDir(), "xfs.img")
	if out, err := exec.Command("sh", "-ec", `truncate -s 300M "$1"; mkfs.xfs -q "$1"; gzip "$1"`, "sh", xfs).CombinedOutput(); err != nil {
		t.Fatalf("cannot make an xfs: %v: %s (Debian package xfsprogs)", err, out)
	}
	type part struct {
		name, tests string
		least       int
		before      string
	}
	limit, flags := 20*time.Minute, "-test.v -test.short"
	parts := []part{
		{"first things", "-test.run 'TestContract/(Clone|Destroy|Mount|Filled|Sealed)$|TestNearlyFull$|TestXFS$|TestEachNamesItself$'", 8, "udevadm settle"},
	}
	if os.Getenv("BEADM_LONG") != "" {
		limit, flags = 60*time.Minute, "-test.v"
		const trouble = "TestContract/(Cuts|Failures|Cancelled)$"
		const recorded = "TestParseReport$|TestSharingOfADump$" // they read files that are not handed in
		parts = []part{
			// As at the earliest moment of a boot, and faster.
			{"what is cut or fails, without udev", "-test.run '" + trouble + "'", 16,
				"systemctl stop systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udevd.service; test ! -e /run/udev/control"},
			{"all other", "-test.skip '" + trouble + "|" + recorded + "'", 30, "udevadm settle"},
		}
	}
	for _, half := range parts {
		t.Run(half.name, func(t *testing.T) {
			t.Parallel()
			v := NewDisk(t, Btrfs).Start(Options{Memory: 1536, Payload: map[string]string{"/root/lvm.test": binary, "/root/xfs.gz": xfs + ".gz"}})
			v.Install()
			v.Must(time.Minute, "modprobe dm_thin_pool && modprobe loop && "+half.before)
			out, code := v.Run(limit, "cd /root && TMPDIR=/dev/shm BEADM_LVM_VG=scratch-vg BEADM_LVM_XFS=/root/xfs.gz ./lvm.test "+flags+" "+half.tests)
			if code != 0 || !strings.Contains(out, "PASS") {
				t.Errorf("ended with %d:\n%s", code, lastLines(out, 150))
			}
			ran := 0
			for line := range strings.Lines(out) {
				if strings.HasPrefix(strings.TrimSpace(line), "--- ") {
					t.Log(strings.TrimRight(line, "\n"))
					if strings.Contains(line, "--- PASS") {
						ran++
					}
				}
			}
			if ran < half.least || strings.Contains(out, "NOT RUN") {
				t.Errorf("the suite did not really run: %d passed", ran)
			}
		})
	}
}
