//go:build linux && vm

package vmtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestVMRunsCommandsSurvivesResetsAndPowerCuts(t *testing.T) {
	payload := filepath.Join(t.TempDir(), "hello")
	os.WriteFile(payload, []byte("#!/bin/sh\necho hello from the host\n"), 0o755)
	d := NewDisk(t, ZFS)
	v := d.Start(Options{Payload: map[string]string{"/usr/local/bin/hello": payload}})
	t.Logf("power-on to shell: %.0f s", time.Since(v.Started).Seconds())

	if out, code := v.Run(time.Minute, "printf 'one\\ntwo\\n'; echo bad >&2; (exit 3)"); code != 3 || out != "one\ntwo\nbad\n" {
		t.Errorf("got %q, %d", out, code)
	}
	v.Install()
	if out := v.Must(time.Minute, "hello"); out != "hello from the host" {
		t.Errorf("the payload said %q", out)
	}
	if out := v.Must(time.Minute, "findmnt -no SOURCE /var/lib; zfs get -Ho value canmount rpool/ROOT/debian/var"); !strings.Contains(out, "rpool/ROOT/debian/var/lib") || !strings.Contains(out, "off") {
		t.Errorf("the root is not what the recipe says:\n%s", out)
	}
	if out := v.Must(time.Minute, "systemctl --failed --no-legend --plain"); out != "" {
		t.Errorf("failed units:\n%s", out)
	}

	// A reset by the guest itself stays in the same power-on.
	v.Must(time.Minute, "echo kept >/root/kept; sync; zpool sync rpool")
	mark := v.Mark()
	v.Send("systemctl reboot")
	v.WaitFor(mark, `SeaBIOS`, time.Minute)
	v.WaitShell(3 * time.Minute)

	// Power cut at a named moment; the same disk again.
	v.Must(time.Minute, "echo lost >/dev/shm/lost; echo cut-here >/dev/ttyS0")
	v.CutAt(mark, "cut-here", time.Minute)
	v = d.Boot(Options{})
	v.WaitShell(3 * time.Minute)
	if out := v.Must(time.Minute, "cat /root/kept; ls /dev/shm"); out != "kept" {
		t.Errorf("after the power cut: %q", out)
	}
}

func TestVMMinimalBootWithoutUserland(t *testing.T) {
	d := NewDisk(t, ZFS)
	v := d.Start(Options{Append: "root=ZFS=rpool/ROOT/debian rw console=ttyS0 quiet init=/usr/local/sbin/test-shell"})
	t.Logf("power-on to a shell as PID 1, no loader: %.0f s", time.Since(v.Started).Seconds())
	if out := v.Must(time.Minute, "echo $$"); out != "1" {
		t.Errorf("the shell is process %s", out)
	}
}
