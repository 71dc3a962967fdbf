//go:build linux && vm

package activate_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

const (
	short = time.Minute
	long  = 4 * time.Minute
)

// program builds the beadm under test.
func program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "beadm")
	cmd := exec.Command("go", "build", "-trimpath", "-o", file, "beadm/cmd/beadm")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build beadm: %v: %s", err, out)
	}
	return file
}

// reboots waits for a reset that the guest does by itself, and for the shell
// of what comes up.
func reboots(t *testing.T, v *vmtest.VM, mark int) {
	t.Helper()
	start := time.Now()
	v.WaitFor(mark, `SeaBIOS`, long)
	v.WaitShell(long)
	t.Logf("reset to shell: %.0f s", time.Since(start).Seconds())
}

func contains(t *testing.T, what, out string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("%s does not say %q:\n%s", what, want, out)
		}
	}
}

// waitIdle waits until the trial is confirmed, by the machine itself.
func waitIdle(t *testing.T, v *vmtest.VM, limit time.Duration) string {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		out := v.Must(short, "beadm status")
		if strings.Contains(out, "state:    idle") {
			return out
		}
		if time.Now().After(deadline) {
			logs, _ := v.Run(short, "journalctl -b --no-pager -u beadm-confirm -u beadm-deadman | tail -30; beadm status --json")
			t.Fatalf("not confirmed within %s:\n%s\n%s", limit, out, logs)
		}
		time.Sleep(3 * time.Second)
	}
}

// ready is a machine with beadm set up and shared data moved.
func ready(t *testing.T, d *vmtest.Disk, beadm string) *vmtest.VM {
	t.Helper()
	v := d.Boot(vmtest.Options{Payload: map[string]string{"/usr/local/sbin/beadm": beadm}})
	v.WaitShell(long)
	v.Install()
	v.Must(short, "mkdir -p /etc/beadm; printf 'confirm.hold = 5s\nconfirm.within = 150s\npanic = 5\n' >/etc/beadm/beadm.conf")
	t.Log(v.Must(long, "findmnt /boot/beadm || mount /boot/beadm; beadm -v setup --loader grub --loader-dir /boot/beadm && rm /usr/local/sbin/beadm"))
	return v
}

func TestVMCycleOnZFS(t *testing.T) {
	beadm := program(t)
	d := vmtest.NewDisk(t)
	v := ready(t, d, beadm)
	t.Log(v.Must(short, "beadm list; beadm status"))

	v.Must(short, `echo "From old: one" >/var/mail/alice; chown alice:mail /var/mail/alice; chmod 660 /var/mail/alice
mkdir -p /var/spool/jobs; echo job-1 >/var/spool/jobs/1; echo line-1 >>/var/log/app.log`)
	t.Log(v.Must(long, "beadm share init --stop-all"))
	share := v.Must(short, "beadm share status; ls -ld /var/mail /var/spool; findmnt /var/share; cat /var/mail/alice /var/spool/jobs/1; systemctl is-active cron ssh systemd-journald; systemctl --failed --no-legend --plain")
	contains(t, "the machine after share init", share, "/var/mail -> share/mail", "From old: one", "job-1")
	t.Log(share)

	up := v.Must(long, "beadm upgrade new -- apt-get install -y beadm-demo-pkg nullmailer")
	t.Log(up)
	t.Log(v.Must(long, "beadm upgrade new -- apt-get install -y --reinstall grub-pc"))

	v.Must(short, `usermod -L alice; echo 'bob:bob-new' | chpasswd; useradd -m carol; echo 'carol:carol' | chpasswd; userdel dave
echo "From old: two" >>/var/mail/alice; echo line-2 >>/var/log/app.log`)
	out := v.Must(long, "beadm -v activate new; beadm list; beadm status; zfs list -t all -o name,canmount,mountpoint,org.example:keep,compression,atime")
	t.Log(out)
	contains(t, "status", out, "armed", "new")
	v.Must(short, `passwd -q -l bob; passwd -q -u bob || :; echo 'bob:bob-newer' | chpasswd; echo "From old: three" >>/var/mail/alice; echo line-3 >>/var/log/app.log`)
	mark := v.Mark()
	v.Send("systemctl reboot")
	reboots(t, v, mark)

	out = v.Must(short, "findmnt -no SOURCE /; cat /proc/cmdline; beadm status; beadm-demo; cat /var/mail/alice /var/log/app.log; grep -E '^(alice|bob|carol|dave|beadm-demo|nullmail)' /etc/shadow; ls /var/spool/beadm-demo /var/spool/nullmailer; tail -1 /etc/motd; systemctl --failed --no-legend --plain; zfs list -t snapshot -r rpool/VARSHARE")
	t.Log(out)
	contains(t, "new", out, "rpool/ROOT/new", "beadm.trial=1", "beadm-demo 1.0", "first-job", "From old: three", "line-3")
	t.Log(waitIdle(t, v, 100*time.Second))
	t.Log(v.Must(short, "beadm list; beadm history"))

	v.Must(short, `echo 'carol:carol-2' | chpasswd; echo "From new: four" >>/var/mail/alice`)
	mark = v.Mark()
	v.Send("beadm rollback --reboot")
	reboots(t, v, mark)
	out = v.Must(short, "findmnt -no SOURCE /; beadm status; cat /var/mail/alice; ls /usr/bin/beadm-demo; cat /etc/motd; grep -E '^(alice|bob|carol|dave|beadm-demo)' /etc/shadow; beadm history")
	t.Log(out)
	contains(t, "old", out, "rpool/ROOT/debian", "From new: four", "From old: one")
}
