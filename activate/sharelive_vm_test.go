//go:build linux && vm

package activate_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// sharedDirs are what a Debian has of the profile.
var sharedDirs = []string{"mail", "log", "spool", "tmp"}

// liveWriter appends, renames over, creates and deletes in /var/NAME, which may
// have slashes. What it has done it counts in /root once it is stopped, and goes on
// from there. It is one process, and rests: of the emulated processor there is
// little.
const liveWriter = `#!/usr/bin/perl
use strict;
my $d = "/var/$ARGV[0]";
my $count = "/root/wrote." . ($ARGV[0] =~ tr{/}{-}r);
my ($n, $stop) = (0, 0);
if (open my $f, '<', $count) { $n = 0 + <$f> }
$SIG{TERM} = sub { $stop = 1 };
sub put { my ($file, $text) = @_; open my $f, '>', $file or die "$file: $!"; syswrite $f, $text or die "$file: $!"; close $f or die "$file: $!" }
open my $log, '>>', "$d/w.log" or die "$d/w.log: $!";
until ($stop) {
	$n++;
	syswrite $log, "$n\n" or die $!;
	put("$d/w.new", "$n\n");
	rename "$d/w.new", "$d/w.last" or die $!;
	put("$d/w.$n", "$n\n");
	$n <= 20 or unlink "$d/w." . ($n - 20) or die $!;
	select undef, undef, undef, 0.05;
}
put($count, "$n\n");
`

// countLines is a script that says of each of the directories how much its writer,
// which is stopped, wrote, and what of it is not there.
func countLines(dirs ...string) string {
	return "for d in " + strings.Join(dirs, " ") + `; do
	n=$(cat /root/wrote.$(echo $d | tr / -)); seq $n | cmp - /var/$d/w.log; echo $n | cmp - /var/$d/w.last
	i=$((n - 19)); while [ $i -le $n ]; do read got </var/$d/w.$i; [ "$got" = $i ] || echo $d lacks w.$i; i=$((i + 1)); done
	[ $(ls /var/$d | grep -c '^w[.]') = 22 ] || echo $d has too many: $(ls /var/$d)
	[ $n -gt 50 ] || echo $d has hardly any
	echo $d: $n lines
done 2>&1`
}

// A Debian on ZFS whose services write all the while to all that is moved: what
// is in use is not moved, and nothing is lost when they are stopped for it. It
// comes up whole from a disk that is slow. A mailer that eats mailboxes is
// undone, by a rollback and by hand, and what it delivered meanwhile stays.
func TestVMShareLive(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; writers, and mailboxes that are eaten, are run on btrfs")
	}
	t.Parallel()
	start := time.Now()
	at := func(what string) { t.Logf("%4.0f s: %s", time.Since(start).Seconds(), what) }
	d := vmtest.NewDisk(t, vmtest.ZFS)
	v := ready(t, d, program(t))
	at("ready")
	restart := func(runs string) {
		t.Helper()
		mark := v.Mark()
		v.Send("systemctl reboot")
		v.WaitFor(mark, d.Firmware(), 2*long)
		v.WaitShell(2 * long)
		v.Must(short, "findmnt /boot/beadm >/dev/null || mount /boot/beadm")
		contains(t, "status", v.Must(short, "beadm status"), "running:  "+runs)
	}
	whole := func(when string) {
		t.Helper()
		out := v.Must(long, `systemctl is-system-running --wait >/dev/null; systemctl --failed --no-legend --plain
findmnt -no SOURCE /var/share
for d in mail log spool tmp; do [ "$(readlink /var/$d)" = share/$d ] || ls -ld /var/$d; done; beadm status | grep -i cannot; :`)
		if out != "rpool/VARSHARE" {
			t.Errorf("%s: failed units, or the shared data is not mounted, or directories are no links:\n%s", when, out)
		}
	}
	deliver := func(to, text string) {
		t.Helper()
		v.Must(2*time.Minute, "echo '"+text+"' | sendmail "+to+`; (for i in $(seq 60); do grep -rqs '`+text+"' /var/mail/"+to+" && exit; sleep 1; done; mailq; journalctl -u 'postfix*' --no-pager | tail -20; exit 1)")
	}

	// Alice has a mailbox of one file, bob a Maildir.
	v.Must(2*long, `printf 'postfix postfix/main_mailer_type select Local only\npostfix postfix/mailname string guest\n' | debconf-set-selections
apt-get install -y -qq postfix >/dev/null
printf 'bob: /var/mail/bob/\nroot: alice\n' >/etc/aliases; newaliases
mkdir -p /var/mail/bob/new /var/mail/bob/cur /var/mail/bob/tmp; chown -R bob:mail /var/mail/bob; postconf -e 'default_privs = bob'; postfix reload 2>/dev/null`)
	at("postfix is installed")
	deliver("alice", "the first to alice")
	deliver("bob", "the first to bob")

	v.Must(short, "cat >/usr/local/bin/writer <<'END'\n"+liveWriter+"END\n"+`chmod 755 /usr/local/bin/writer
printf '[Service]\nExecStart=/usr/local/bin/writer %%i\n' >/etc/systemd/system/writer@.service
systemctl daemon-reload; systemctl start writer@mail writer@log writer@spool writer@tmp
(for i in $(seq 40); do sleep 1; for d in mail log spool tmp; do [ $(wc -l </var/$d/w.log) -gt 60 ] || continue 2; done; exit; done; systemctl status writer@*; exit 1)`)
	at("all are written to")

	refusal, code := v.Run(2*time.Minute, "beadm share init")
	at("share init was refused")
	if code != 4 {
		t.Errorf("share init beside writers ended with %d", code)
	}
	wants := []string{"nothing was changed"}
	for _, dir := range sharedDirs {
		wants = append(wants, "writer@"+dir+".service: writer (pid ", " at /var/"+dir+"/w.log")
	}
	contains(t, "share init beside writers", refusal, wants...)
	if out := v.Must(short, "for d in mail log spool tmp; do [ -d /var/$d ] && ! [ -L /var/$d ] && systemctl -q is-active writer@$d || echo $d; done; zfs list -H -o name | grep VARSHARE; find /var/share /var/.beadm* -mindepth 1 2>/dev/null; :"); out != "" {
		t.Errorf("share init beside writers changed\n%s", out)
	}

	out := v.Must(long, "beadm share init --stop-all")
	at("share init --stop-all\n" + out)
	wants = []string{"stopped and started postfix", "stopped and started cron.service"}
	for _, dir := range sharedDirs {
		wants = append(wants, "moved /var/"+dir, "stopped and started writer@"+dir+".service")
	}
	contains(t, "share init --stop-all", out, wants...)
	if strings.Contains(out, "beadm-late") {
		t.Errorf("something was late:\n%s", out)
	}
	counted := func(when string) {
		t.Helper()
		out := v.Must(2*time.Minute, `for d in mail log spool tmp; do n=$(wc -l </var/$d/w.log); until [ $(wc -l </var/$d/w.log) -gt $n ]; do sleep 1; done; systemctl is-active writer@$d; done
systemctl stop writer@mail writer@log writer@spool writer@tmp
`+countLines(sharedDirs...))
		at(when + "\n" + out)
		if lines := strings.Split(out, "\n"); len(lines) != 8 || strings.Count(out, "active\n") != 4 || strings.Contains(out, "inactive") || strings.Count(out, " lines") != 4 {
			t.Errorf("%s, the writers' files:\n%s", when, out)
		}
	}
	counted("the writers wrote")
	whole("after share init")
	deliver("alice", "after the move to alice")
	deliver("bob", "after the move to bob")
	at("mail is delivered")

	// The same from a slow disk, and it is slow.
	v.Must(short, "for d in mail log spool tmp; do ln -s ../writer@.service /etc/systemd/system/multi-user.target.wants/writer@$d.service; done")
	v.SlowDisk(2 << 20)
	if out := v.Must(short, "s=$(date +%s); dd if=/dev/vda of=/dev/null bs=1M count=16 skip=512 iflag=direct 2>/dev/null; echo $(($(date +%s) - s))"); len(out) == 1 && out < "6" {
		t.Errorf("the disk is not slow: 16 MiB in %s s", out)
	}
	restart("debian")
	at("restarted")
	whole("after a restart from a slow disk")
	v.FreeDisk()
	counted("after a restart from a slow disk, the writers wrote")
	contains(t, "the journal", v.Must(short, "logger -t test after the slow boot; journalctl --sync; journalctl -q -o cat -t test -D /var/share/log/journal; journalctl -q --list-boots --no-pager"), "after the slow boot", "-1 ")
	v.Must(short, "rm /etc/systemd/system/multi-user.target.wants/writer@* /var/*/w.*")

	// What the mailer of new eats comes back when the operator goes back, with
	// what was delivered since.
	v.Must(long, "beadm create new && beadm activate --leave-behind --permanent new")
	at("activated")
	restart("new")
	at("in new")
	eat := "truncate -s 0 /var/mail/alice; rm -f /var/mail/bob/new/* /var/mail/bob/cur/*"
	v.Must(short, eat)
	deliver("alice", "from new to alice")
	deliver("bob", "from new to bob")
	contains(t, "rollback", v.Must(long, "beadm rollback --share=/var/mail"), "is brought back when debian boots")
	deliver("alice", "before the reboot to alice")
	deliver("bob", "before the reboot to bob")
	at("eaten, and rolled back")
	restart("debian")
	at("back in debian")
	whole("after a rollback")
	mails := func(when string, texts ...string) {
		t.Helper()
		for _, to := range []string{"alice", "bob"} {
			got := v.Must(short, "find /var/mail/"+to+" -type f -exec cat {} + | grep ' to "+to+"$' | sort")
			var wants []string
			for _, text := range texts {
				wants = append(wants, text+" to "+to)
			}
			same(t, when+" the mail of "+to, got, strings.Join(wants, "\n"))
		}
		if out := v.Must(short, "stat -c '%U:%G %a' /var/mail/alice; stat -c %U /var/mail/bob/new/* | sort -u"); out != "alice:mail 600\nbob" {
			t.Errorf("%s, the mailboxes are of %s", when, out)
		}
	}
	mails("after the rollback", "after the move", "before the reboot", "from new", "the first")
	deliver("alice", "in debian again to alice")
	deliver("bob", "in debian again to bob")

	// By hand.
	v.Must(short, "beadm share snapshot by-day && "+eat)
	deliver("alice", "yet another to alice")
	deliver("bob", "yet another to bob")
	for range 2 { // the second time adds nothing
		t.Log(v.Must(short, "beadm share restore by-day /var/mail"))
		mails("after a restore", "after the move", "before the reboot", "from new", "in debian again", "the first", "yet another")
	}
	out = v.Must(short, "beadm share list")
	contains(t, "share list", out, "by-day", "before a restore", "switch to new", "switch to debian")
	at("restored by hand\n" + out)
}
