//go:build linux && vm

package vmtest

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestVMLeft6(t *testing.T) {
	dir := t.TempDir()
	payload := map[string]string{}
	for name, pkg := range map[string]string{"zfs": "beadm/be/zfs", "datasets": "beadm/activate/guest/datasets"} {
		cmd := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, name), pkg)
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		payload["/root/"+name+".test"] = filepath.Join(dir, name)
	}
	v := NewDisk(t, ZFS).Start(Options{Memory: 1536, Payload: payload})
	v.Install()
	out, code := v.Run(3*time.Minute, "cd /root && TMPDIR=/root BEADM_ZFS_POOL=scratch ./zfs.test -test.v -test.short -test.run 'ShareOfEncrypted'")
	t.Log(code, lastLines(out, 40))
	out, code = v.Run(8*time.Minute, "cd /root && time TMPDIR=/root BEADM_ZFS_POOL=scratch ./datasets.test -test.v -test.short -test.run 'PlaceIsCut'")
	t.Log(code, lastLines(out, 60))
}
