//go:build linux && vm

package activate_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// A whole Debian lives on moved directories: its journal, cron, a real mailer,
// packages that own what was moved, systemd-tmpfiles and a confined daemon. One
// that was cloned before gets the links when it is activated; and a machine
// whose shared data is gone still comes up, and says so.
func TestVMSharedData(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the cycles have shared data, in the demonstration with postfix")
	}
	t.Parallel()
	d := vmtest.NewDisk(t, vmtest.ZFS)
	v := ready(t, d, program(t))
	restart := func(command, runs string) {
		t.Helper()
		mark := v.Mark()
		v.Send(command)
		reboots(t, d, v, mark)
		v.Must(short, "findmnt /boot/beadm >/dev/null || mount /boot/beadm")
		contains(t, "status", v.Must(short, "beadm status"), "running:  "+runs)
	}
	deliver := func(text string) {
		t.Helper()
		v.Must(2*time.Minute, "echo '"+text+"' | sendmail alice; (for i in $(seq 60); do grep -qs '"+text+"' /var/mail/alice && exit; sleep 1; done; mailq; journalctl -u 'postfix*' --no-pager | tail -20; exit 1)")
	}
	works := func(when string) {
		t.Helper()
		if out := v.Must(2*time.Minute, "systemctl is-system-running --wait >/dev/null; systemctl --failed --no-legend --plain; ls -ld /var/mail /var/spool /var/log /var/tmp | grep -v ' -> share/' || :"); out != "" {
			t.Errorf("%s, failed units, or directories that are no links:\n%s", when, out)
		}
		deliver(when)
		// The kernel confines it to its own log, wherever that is.
		if out, code := v.Run(short, "echo '"+when+"' | confined -a /var/log/confined/log >/dev/null && grep -q '"+when+"' /var/share/log/confined/log"); code != 0 {
			t.Errorf("%s, the confined daemon does not log: %s", when, out)
		}
		if out, code := v.Run(short, "echo x | confined /var/log/other"); code == 0 {
			t.Errorf("%s, nothing confines the daemon: %s", when, out)
		}
		if out, code := v.Run(short, "touch /var/tmp/aged; sleep 2; systemd-tmpfiles --clean; test ! -e /var/tmp/aged"); code != 0 {
			t.Errorf("%s, /var/tmp is not aged: %s", when, out)
		}
		if out, code := v.Run(2*time.Minute, "rm -f /var/log/ticks; (for i in $(seq 70); do test -s /var/log/ticks && exit; sleep 1; done; exit 1)"); code != 0 {
			t.Errorf("%s, cron runs nothing: %s", when, out)
		}
	}

	v.Must(long, `printf 'postfix postfix/main_mailer_type select Local only\npostfix postfix/mailname string guest\n' | debconf-set-selections
apt-get install -y -qq postfix apparmor >/dev/null
printf '* * * * * root echo tick >>/var/log/ticks\n' >/etc/cron.d/tick
printf 'q /var/tmp 1777 root root 1s\n' >/etc/tmpfiles.d/tmp.conf
mkdir /var/log/confined; cp /usr/bin/tee /usr/local/bin/confined
printf '%s\n' 'include <tunables/global>' '/usr/local/bin/confined {' ' include <abstractions/base>' ' /usr/local/bin/confined mr,' ' /var/log/confined/** rw,' '}' >/etc/apparmor.d/usr.local.bin.confined
systemctl enable --now apparmor && apparmor_parser -r /etc/apparmor.d/usr.local.bin.confined`)
	if out, code := v.Run(short, "echo x | confined /var/log/other"); code == 0 {
		t.Fatalf("this kernel confines nothing: %s\n%s", out, v.Must(short, "cat /sys/module/apparmor/parameters/enabled /sys/kernel/security/lsm; aa-status || :"))
	}
	v.Must(long, "beadm create old")
	t.Log(v.Must(long, "beadm share init --stop-all"))
	works("after share init")
	restart("systemctl reboot", "debian")
	works("after a restart")
	contains(t, "the journal", v.Must(short, "journalctl --list-boots --no-pager | wc -l; ls -d /var/share/log/journal/*"), "/var/share/log/journal/")

	// Packages that own what was moved, here and in a clone.
	v.Must(long, "apt-get install -y -qq --reinstall base-files cron postfix")
	works("after the packages came again")
	queue := v.Must(short, "find /var/share/spool /var/share/mail | sort | sha256sum; cat /var/share/mail/alice | sha256sum")
	v.Must(2*long, "beadm upgrade new -- sh -c 'apt-get install -y -qq --reinstall base-files cron postfix && echo staged >/var/mail/staged && echo other >/var/mail/alice'")
	same(t, "the live spool", v.Must(short, "find /var/share/spool /var/share/mail | sort | sha256sum; cat /var/share/mail/alice | sha256sum"), queue)
	v.Must(long, "beadm activate --leave-behind --permanent new")
	restart("systemctl reboot", "new")
	works("in new")
	contains(t, "what was staged", v.Must(short, "cat /var/mail/staged; find /var/share/.beadm-arrived -name alice -exec cat {} +; beadm status"), "staged", "other")

	// One from before the relocation.
	v.Must(long, "beadm activate --leave-behind --permanent old")
	restart("systemctl reboot", "old")
	works("in old")
	contains(t, "the mail", v.Must(short, "cat /var/mail/alice"), "after share init", "after a restart", "in new")

	// Nothing is written below the mount point of data that is not there.
	v.Must(long, "beadm activate --leave-behind --permanent debian")
	mark := v.Mark()
	v.Send("swapoff -a; zfs unmount -f rpool/VARSHARE || umount -l /var/share; zfs rename -u rpool/VARSHARE rpool/away && sync && reboot -f")
	reboots(t, d, v, mark)
	out := v.Must(short, "beadm status; findmnt -no FSTYPE /var/share; ss -ltn")
	contains(t, "a machine without its shared data", out, "the shared data cannot be mounted", "tmpfs", ":22")
	v.Must(short, "mkdir /n; mount --bind / /n; test -z \"$(ls -A /n/var/share)\"; umount /n; zfs rename rpool/away rpool/VARSHARE")
	mark = v.Mark()
	v.Send("systemctl reboot")
	reboots(t, d, v, mark)
	works("once it is back")
	if out := v.Must(short, "beadm status"); strings.Contains(out, "cannot") {
		t.Errorf("status: %s", out)
	}
}
