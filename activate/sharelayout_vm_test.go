//go:build linux && vm

package activate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// quietTree fills $1/quiet with one of each kind that a copy may spoil, and sets
// the mode, owner and ACL of $1 itself.
const quietTree = `set -e; umask 022
mkdir -p $1/quiet/private $1/quiet/team; cd $1/quiet
chmod 2775 $1; chgrp mail $1; setfacl -m u:dave:rwx,d:u:dave:rwx $1
seq 30000 >plain; ln plain team/second; ln -s plain to-plain; ln -s /etc/hostname far; ln -s /nowhere nowhere
echo letters >letters; chown alice:mail letters; chmod 0600 letters; setfacl -m u:bob:r letters
echo labelled >labelled; setfattr -n user.note -v 'of a user' labelled; setfattr -n trusted.note -v 'of root' labelled
cp /bin/true capable; setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 capable
cp /bin/true setuid; chown alice: setuid; chmod 4755 setuid
truncate -s 64M sparse; printf end >>sparse
mkfifo -m 0620 pipe; : >empty; : >'a name with " and
a line end'
chmod 0700 private; chown dave: private; echo hidden >private/hidden; chmod 0 private/hidden
chgrp mail team; chmod 3770 team; setfacl -m g:mail:rwx,d:g:mail:rwx team
touch -d '1999-12-31 23:59:59.123456789 UTC' plain empty private
ln -sr /usr/share/common-licenses/GPL-3 out; touch -h -d '2001-01-01 UTC' out`

// showTrees prints all that there is of quiet in each of the directories, below
// $1, and of the directories what a program that writes there leaves alone. A
// link that leads out of its tree counts for what it leads to.
const showTrees = `top=$1; shift; sync
for d; do
	echo "== $d"; cd "$top$d" || exit
	stat -c '%A %U:%G' .; getfacl -pn .; cd quiet || exit
	find . ! -name out -printf '%P|%y|%m|%u:%g|%n|%s|%T@|%l\n' | sort
	find . ! -name out -print0 | sort -z | xargs -0 getfacl -Ppn
	find . ! -name out -print0 | sort -z | xargs -0 getfattr -hd -m - -e hex
	find . -type f -exec sha256sum {} + | sort -k 2
	[ plain -ef team/second ] && [ $(du -k sparse | cut -f 1) -lt 1024 ] || echo hard links or holes are lost
	[ "$top" ] || sha256sum <out
done 2>&1`

// A Debian on ZFS changes its mind about what is shared: directories are added,
// one is taken out again, then all; that holds for boot environments that do not
// run, too; and it shares again for good. Services write all the while, and what
// nobody writes to is as it was, in all that a copy may spoil.
func TestVMShareLayout(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the same commands, and cuts in them, are run on btrfs")
	}
	t.Parallel()
	start := time.Now()
	at := func(what string) { t.Logf("%4.0f s: %s", time.Since(start).Seconds(), what) }
	d := vmtest.NewDisk(t, vmtest.ZFS)
	v := ready(t, d, program(t))
	at("ready")

	added := []string{"/opt/site", "/var/opt/list/data", "/var/www"}
	all := append([]string{"/var/mail", "/var/spool"}, added...)
	written := []string{"mail", "www", "opt/list/data"}
	writers := "writer@mail writer@www writer@opt-list-data"

	// The pool has ACLs for this boot environment only.
	v.Must(short, "zfs set acltype=posixacl rpool/ROOT/debian && zfs set acltype=off rpool")
	v.Must(2*time.Minute, "mkdir -p "+strings.Join(all, " ")+" /var/lib/data; cat >/root/fill <<'END'\n"+quietTree+"\nEND\ncat >/root/show <<'END'\n"+showTrees+"\nEND\n"+
		"for d in "+strings.Join(all, " ")+"; do sh /root/fill $d || exit; done")
	v.Must(short, "cat >/usr/local/bin/writer <<'END'\n"+strings.Replace(liveWriter, "0.05", "0.2", 1)+"END\n"+`chmod 755 /usr/local/bin/writer
printf '[Service]\nExecStart=/usr/local/bin/writer %%I\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/writer@.service
systemctl daemon-reload; systemctl enable -q `+writers)
	show := func(top string, dirs ...string) string {
		t.Helper()
		return v.Must(2*time.Minute, "sh /root/show '"+top+"' "+strings.Join(dirs, " "))
	}
	was := show("", all...)
	out := "for d in " + strings.Join(all, " ") + "; do readlink $d/quiet/out; done"
	wasOut := v.Must(short, out)
	if !strings.Contains(was, "user:1001:r--") || !strings.Contains(was, "security.capability=0x01000002") || strings.Contains(was, "lost") || strings.Contains(was, "No such") {
		t.Fatalf("these are not the trees that are to be compared:\n%s", was)
	}
	alike := func(when, got, want string) {
		t.Helper()
		if got != want {
			was, is := filepath.Join(t.TempDir(), "was"), filepath.Join(t.TempDir(), "is")
			os.WriteFile(was, []byte(want+"\n"), 0o600)
			os.WriteFile(is, []byte(got+"\n"), 0o600)
			lines, _ := exec.Command("diff", "-U", "2", was, is).CombinedOutput()
			t.Errorf("%s, what was and is:\n%s", when, lines)
		}
	}
	asItWas := func(when string) {
		t.Helper()
		alike(when, show("", all...), was)
	}
	// inside mounts a boot environment that does not run.
	inside := func(name string, f func(dir string)) {
		t.Helper()
		dir := v.Must(short, "beadm mount -s ro "+name)
		f(dir)
		v.Must(short, "beadm unmount "+name)
	}
	// What was staged goes through the directories, whose times tell of it. Links
	// out of the trees lead nowhere in what is mounted elsewhere.
	times := regexp.MustCompile(`(?m)(\|d\|.*\|)[0-9.]+\|$|^\w+  -$`)
	blank := regexp.MustCompile(`\n+`)
	asItWasIn := func(when, dir string) {
		t.Helper()
		without := func(s string) string {
			return blank.ReplaceAllString(times.ReplaceAllString(s, "$1"), "\n")
		}
		alike(when, strings.TrimSpace(without(show(dir, all...))), strings.TrimSpace(without(was)))
	}
	isLinked := func(when, top string, want bool, paths ...string) {
		t.Helper()
		test := "[ -d %[1]s ] && ! [ -L %[1]s ]"
		if want {
			test = "[ -L %[1]s ]"
		}
		out := v.Must(short, "for d in "+strings.Join(paths, " ")+"; do "+strings.ReplaceAll(test, "%[1]s", top+"$d")+" || ls -ld "+top+"$d; done")
		if out != "" {
			t.Errorf("%s, linked is not %v of\n%s", when, want, out)
		}
	}
	isShared := func(when string, want bool, paths ...string) {
		t.Helper()
		isLinked(when, "", want, paths...)
		out := v.Must(short, "beadm share status")
		for _, p := range paths {
			said := false
			for line := range strings.Lines(out) {
				f := strings.Fields(line)
				said = said || len(f) > 1 && f[0] == p && f[1] == "linked"
			}
			if said != want {
				t.Errorf("%s, share status says of %s that linked is %v:\n%s", when, p, said, out)
			}
		}
	}
	// The writers wrote on, lost nothing, and are started again.
	counted := func(when string) {
		t.Helper()
		out := v.Must(2*time.Minute, "for d in "+strings.Join(written, " ")+`; do n=$(wc -l </var/$d/w.log); until [ $(wc -l </var/$d/w.log) -gt $((n + 10)) ]; do sleep 1; done; done
systemctl is-active `+writers+"; systemctl stop "+writers+"\n"+countLines(written...)+"; systemctl start "+writers)
		at(when + "\n" + out)
		if lines := strings.Split(out, "\n"); len(lines) != 6 || strings.Count(out, "active\n") != 3 || strings.Contains(out, "inactive") || strings.Count(out, " lines") != 3 {
			t.Errorf("%s, the writers' files:\n%s", when, out)
		}
	}
	do := func(command string, says ...string) {
		t.Helper()
		out := v.Must(2*long, command)
		at(command + "\n" + out)
		contains(t, command, out, says...)
	}
	refused := func(want int, command string, says ...string) {
		t.Helper()
		world := "beadm status; beadm share status; zfs list -H -o name -t all; find / -xdev -name '.beadm-*' -not -path '/run/*' | sort; cat /etc/tmpfiles.d/beadm-share.conf"
		before, _ := v.Run(short, world)
		out, code := v.Run(2*time.Minute, command)
		at(command + "\n" + out)
		if code != want {
			t.Errorf("%s ended with %d: %s", command, code, out)
		}
		contains(t, command, out, says...)
		after, _ := v.Run(short, world)
		alike(command, after, before)
	}
	whole := func(when string) {
		t.Helper()
		out := v.Must(long, `systemctl is-system-running --wait >/dev/null; systemctl --failed --no-legend --plain
findmnt -no SOURCE /var/share; beadm status | grep -iE 'cannot|owed'; logger -t test here; journalctl --sync
journalctl -q -D /var/log/journal -b -t test -o cat | tail -n 1; systemd-tmpfiles --clean || echo tmpfiles`)
		same(t, when+", what failed, the shared data and the journal", out, "rpool/VARSHARE\nhere")
	}

	// old has the directories as they are, and is never asked.
	v.Must(long, "sleep 2; beadm create old; systemctl start "+writers)
	do("beadm share init --stop-all", "moved /var/mail", "moved /var/spool", "stopped and started writer@mail.service")
	isShared("after share init", true, "/var/mail", "/var/spool", "/var/log", "/var/tmp")
	asItWas("after share init")
	counted("after share init")

	refused(5, "beadm share add /var/lib/data", "cannot share /var/lib/data: ")
	refused(5, "beadm share add /var/www /opt/site", "cannot share /opt/site: it is outside /var")
	refused(4, "beadm share add --outside-var "+strings.Join(added, " "), "nothing was changed", "writer@www.service", "writer@opt-list-data.service")
	do("beadm share add --stop-all --outside-var "+strings.Join(added, " "), "moved /opt/site", "moved /var/opt/list/data", "moved /var/www", "stopped and started writer@www.service", "stopped and started writer@opt-list-data.service")
	isShared("after share add", true, all...)
	asItWas("after share add")
	counted("after share add")
	if out := v.Must(short, "su alice -c 'cat /var/mail/quiet/letters'; su bob -c 'cat /var/www/quiet/letters'; su dave -c 'cat /opt/site/quiet/letters' 2>&1 || :"); !strings.HasPrefix(out, "letters\nletters\n") || !strings.Contains(out, "Permission denied") {
		t.Errorf("who may read what in the shared data: %s", out)
	}

	// One was made before, and got the links; one after.
	do("beadm create new")
	do("beadm activate --leave-behind old")
	do("beadm activate -T")
	inside("old", func(dir string) { isLinked("in old", dir, true, all...) })

	do("beadm share remove --stop-all /var/www", "/var/www", "stopped and started writer@www.service")
	left := []string{"/var/mail", "/var/spool", "/var/log", "/var/tmp", "/opt/site", "/var/opt/list/data"}
	isShared("after share remove", false, "/var/www")
	isShared("after share remove", true, left...)
	asItWas("after share remove")
	counted("after share remove")
	for _, name := range []string{"old", "new"} {
		inside(name, func(dir string) {
			isLinked("after share remove, in "+name, dir, false, "/var/www")
			isLinked("after share remove, in "+name, dir, true, left...)
		})
	}
	refused(3, "beadm share remove /var/www", "is not shared")

	// What comes in now goes to all of them.
	v.Must(short, "for d in /var/mail /opt/site /var/opt/list/data; do echo since >$d/since; chown bob:mail $d/since; setfacl -b $d/since; chmod 640 $d/since; setfacl -m u:alice:r $d/since; rm $d/quiet/empty; done")
	was = show("", all...)
	refused(4, "beadm share undo", "writer@mail.service", "nothing was changed")
	for _, name := range []string{"old", "new"} {
		inside(name, func(dir string) {
			isLinked("after a refusal, in "+name, dir, true, "/var/mail", "/opt/site", "/var/opt/list/data")
			if out := v.Must(short, "find "+dir+"/var/.beadm-staged ! -type d 2>/dev/null || :"); out != "" {
				t.Errorf("after a refusal, what is staged in %s: %s", name, out)
			}
		})
	}
	do("beadm share undo --stop-all", "/var/mail", "/opt/site", "/var/opt/list/data", "stopped and started writer@mail.service")
	left = append(left, "/var/www")
	isShared("after share undo", false, left...)
	asItWas("after share undo")
	counted("after share undo")
	same(t, "after share undo, what leads out of the trees", v.Must(short, out), wasOut)
	for _, name := range []string{"old", "new"} {
		inside(name, func(dir string) {
			isLinked("after share undo, in "+name, dir, false, left...)
			asItWasIn("after share undo, in "+name, dir)
			since := "for d in /var/mail /opt/site /var/opt/list/data; do cd " + dir + "$d; cat since; stat -c '%A %U:%G' since; getfacl -cp since | grep alice; done | sort | uniq -c"
			same(t, "what came last, in "+name, strings.Join(strings.Fields(v.Must(short, since)), " "), "3 -rw-r----- bob:mail 3 since 3 user:alice:r--")
		})
	}
	whole("after share undo")
	if out := v.Must(short, "beadm share undo"); !strings.Contains(out, "nothing is shared") {
		t.Errorf("the second share undo: %s", out)
	}

	do("beadm share init --stop-all", "moved /var/mail", "stopped and started writer@mail.service")
	do("beadm share add --stop-all --outside-var "+strings.Join(added, " "), "moved /opt/site", "stopped and started writer@www.service")
	isShared("shared again", true, all...)
	asItWas("shared again")
	counted("shared again")
	// What is deleted from now on is not brought back by one that was put back.
	v.Must(short, "rm /var/spool/quiet/labelled /opt/site/quiet/setuid")
	was = show("", all...)
	do("beadm share commit -n", "would delete /var/.beadm-old of debian", "of old", "of new")
	do("beadm share commit")
	asItWas("after share commit")
	none := "find %[1]s/.beadm-old %[1]s/var/.beadm-old %[1]s/var/share/.beadm-undone -maxdepth 0 2>/dev/null || :"
	if out := v.Must(short, strings.ReplaceAll(none, "%[1]s", "")); out != "" {
		t.Errorf("after share commit: %s", out)
	}
	for _, name := range []string{"old", "new"} {
		inside(name, func(dir string) {
			if out := v.Must(short, strings.ReplaceAll(none, "%[1]s", dir)); out != "" {
				t.Errorf("after share commit, in %s: %s", name, out)
			}
		})
	}

	for _, name := range []string{"debian", "old"} {
		mark := v.Mark()
		if name == "old" {
			do("beadm activate --leave-behind --permanent old")
		}
		v.Send("systemctl reboot")
		reboots(t, d, v, mark)
		v.Must(short, "findmnt /boot/beadm >/dev/null || mount /boot/beadm")
		contains(t, "status", v.Must(short, "beadm status"), "running:  "+name)
		whole("in " + name)
		isShared("in "+name, true, all...)
		if name == "old" {
			asItWasIn("in old", "")
			continue
		}
		asItWas("in " + name)
		counted("after a restart")
	}
	if out := v.Must(short, "find /var/share/.beadm-arrived -type f 2>/dev/null || :"); out != "" {
		t.Errorf("this met others of its name: %s", out)
	}
	at("done")
}
