//go:build linux && vm

package activate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot/vmtest"
)

// kexecProgram is what systemd calls for a restart by kexec, and a person too.
func kexecProgram(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kexec")
	cmd := exec.Command("go", "build", "-trimpath", "-o", file, "./testdata/kexec")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the test's kexec: %v: %s", err, out)
	}
	return file
}

// TestVMRestartsPastTheLoader: on a machine where a restart is by kexec if a
// kernel is loaded, a trial begins and ends through the firmware all the same;
// nothing of that is left when it is taken back; and after a jump that nothing
// can stop status says what was not tried.
func TestVMRestartsPastTheLoader(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: it boots six times; make test-long runs it")
	}
	t.Parallel()
	beadm := program(t)
	d := vmtest.NewDisk(t, vmtest.Btrfs)
	// The kernel has to be heard: it is what starts without the firmware.
	d.Loader("grub/grub.cfg", "quiet loglevel=3", "loglevel=6")
	v := d.Start(vmtest.Options{Payload: map[string]string{"/usr/local/sbin/beadm": beadm, "/usr/sbin/kexec": kexecProgram(t)}})
	v.Install()
	v.Must(short, "mkdir -p /etc/beadm; printf 'confirm.hold = 5s\nconfirm.within = 600s\npanic = 5\n' >/etc/beadm/beadm.conf")
	v.Must(long, "mount /boot/beadm; beadm setup "+withGRUB+" && rm /usr/local/sbin/beadm")
	// A service as that of kexec-tools, of which a shutdown asks more than of
	// the real one.
	v.Must(long, `printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/usr/sbin/kexec -l\n' >/etc/systemd/system/kexec-load.service
systemctl daemon-reload; systemctl start kexec-load`)
	const load = "kexec -l"
	jumps := func(command string) {
		t.Helper()
		mark := v.Mark()
		v.Send(command)
		v.WaitFor(mark, "Linux version", long)
		v.WaitShell(long)
		if strings.Contains(v.Console()[mark:], d.Firmware()) {
			t.Fatal("it went through the firmware: nothing is shown by the rest")
		}
	}
	restarts := func(wants string) {
		t.Helper()
		mark := v.Mark()
		v.Send("systemctl reboot")
		mark = v.WaitFor(mark, d.Firmware()+"|Linux version", long)
		v.WaitFor(mark, "Booting `"+wants+"'", long)
		v.WaitShell(long)
		v.Must(short, "findmnt /boot/beadm >/dev/null || mount /boot/beadm")
	}
	v.Must(short, load)
	jumps("systemctl reboot")

	v.Must(long, "mount /boot/beadm; beadm create new")
	v.Must(short, load)
	if out, code := v.Run(long, "beadm activate new"); code != 4 || !strings.Contains(out, "a kernel is loaded for kexec") || strings.Count(strings.TrimSpace(out), "\n") != 0 {
		t.Errorf("a trial, and a kernel loaded for kexec: exit %d: %s", code, out)
	}
	v.Must(long, "kexec -u; beadm activate new")
	v.Must(short, load)
	if out, code := v.Run(short, "systemctl kexec"); code == 0 || !strings.Contains(out, "kexec.target") {
		t.Errorf("kexec while a trial is armed: exit %d: %s", code, out)
	}
	restarts("new")
	contains(t, "the trial", v.Must(short, "findmnt -no SOURCE /; beadm status"), "[/@be-new]", "state:    trying")
	restarts("debian")
	contains(t, "the old system", v.Must(short, "findmnt -no SOURCE /; beadm status"), "[/@debian]", "state:    failed", "the trial of new at ")

	v.Must(long, "beadm activate new; systemctl show -P ExecStop kexec-load | grep /bin/true; ! systemctl show -P ExecStop kexec-load | grep -e -l; beadm activate -T")
	out, _ := v.Run(short, "find /run/systemd/system -name '*beadm-armed*'; ls -d /run/systemd/system/kexec*.d; systemctl show -P ExecStop kexec-load; systemctl show -P RefuseManualStart kexec.target")
	if strings.Contains(out, "beadm-armed") || strings.Contains(out, "/bin/true") || !strings.Contains(out, "kexec -l") || !strings.HasSuffix(strings.TrimSpace(out), "no") {
		t.Errorf("left of the trial that was taken back:\n%s", out)
	}

	v.Must(long, "beadm activate new; sync; umount /boot/beadm")
	v.Must(short, load)
	jumps("kexec -e")
	contains(t, "after a jump", v.Must(short, "findmnt -no SOURCE /; beadm status"), "[/@debian]", "state:    idle", "running:  debian", "default:  debian", "new was armed and not tried")
	v.Must(short, "mount /boot/beadm; ! grep -a beadm_trial=b /boot/beadm/beadm/env")
}
