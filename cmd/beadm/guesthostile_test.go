//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// guestHost is a directory of small nspawn machines on a btrfs of their own, one
// of them hostile, beside files of the host that no link of a guest may reach.
type guestHost struct {
	*machine
	machines string // where the guests are
	outside  string // the host's files
	conf     string
	bad      string
	good     string
	said     strings.Builder // all that beadm printed
}

// secret is in every file of the host that a guest's link leads to.
const secret = "the-host-keeps-this"

// hugest is how much memory beadm may take, whatever a guest holds.
const hugest = 320 << 20

func newGuestHost(t *testing.T) *guestHost {
	t.Helper()
	needBtrfs(t)
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		t.Fatalf("%v: install systemd-container", err)
	}
	shell, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v: install busybox-static", err)
	}
	t.Parallel()
	h := &guestHost{machine: bareMachine(t, 2<<30)}
	h.machines, h.outside = filepath.Join(h.top, "machines"), filepath.Join(h.top, "host")
	// Machines are known by name on the whole host.
	h.bad, h.good = fmt.Sprintf("%s-web1", h.fsid[:8]), fmt.Sprintf("%s-web2", h.fsid[:8])
	for _, dir := range []string{"etc", "var/spool", "dir"} {
		check(t, os.MkdirAll(filepath.Join(h.outside, dir), 0o755))
	}
	for name, mode := range map[string]fs.FileMode{"etc/shadow": 0o600, "etc/passwd": 0o644, "etc/group": 0o644, "dir/file": 0o640, "var/spool/job": 0o600, "program": 0o755} {
		path := filepath.Join(h.outside, name)
		check(t, os.WriteFile(path, []byte("root:"+secret+":1\n"), mode))
		check(t, os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
	}
	check(t, os.Mkdir(h.machines, 0o755))
	for _, name := range []string{h.bad, h.good} {
		root := filepath.Join(h.machines, name)
		sh(t, "btrfs", "-q", "subvolume", "create", root)
		h.root = root
		for path, text := range map[string]string{
			"etc/hostname": name + "\n", "etc/os-release": "ID=test\n", "etc/synced": "1\n", "etc/beadm/synclist": "/etc/synced\n",
			"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n",
			"etc/group":  "root:x:0:\nmail:x:8:\nalice:x:1000:\n",
			"usr/lib/os": "1\n", "var/mail/alice": "first mail\n", "var/log/messages": "first line\n", "var/spool/x": "job\n",
		} {
			write(t, filepath.Join(root, path), text)
		}
		check(t, os.WriteFile(filepath.Join(root, "etc/shadow"), []byte("root:*:1::::::\nalice:$6$x:1::::::\n"), 0o640))
		for _, dir := range []string{"sbin", "bin", "var/tmp", "var/lib", "proc", "sys", "dev", "run", "tmp", "root"} {
			check(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
		}
		check(t, os.WriteFile(filepath.Join(root, "bin/busybox"), shell, 0o755))
		for _, name := range []string{"sh", "true", "cat"} {
			check(t, os.Symlink("busybox", filepath.Join(root, "bin", name)))
		}
		check(t, os.WriteFile(filepath.Join(root, "sbin/init"), []byte("#!/bin/sh\n"), 0o755))
	}
	h.conf = filepath.Join(h.top, "beadm.conf")
	write(t, h.conf, "guest.nspawn.dir = "+h.machines+"\n")
	return h
}

// place is where the roots of a guest are.
func (h *guestHost) place(name string) string { return filepath.Join(h.machines, ".beadm", name) }

// badRoot is the root that the hostile guest is started from.
func (h *guestHost) badRoot() string {
	h.t.Helper()
	root, err := filepath.EvalSymlinks(filepath.Join(h.machines, h.bad))
	check(h.t, err)
	return root
}

// everything of the host that a guest must not touch: a listing with times and
// content, and the mounts.
func (h *guestHost) hosts() string {
	h.t.Helper()
	var b strings.Builder
	for _, dir := range []string{h.outside, h.top, h.machines, filepath.Join(h.machines, ".beadm")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			st := info.Sys().(*syscall.Stat_t)
			if fmt.Fprintf(&b, "%s %v %d:%d", path, info.Mode(), st.Uid, st.Gid); dir == h.outside {
				fmt.Fprintf(&b, " %d", st.Mtim.Nano())
			}
			if info.Mode().IsRegular() && dir == h.outside {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, " %q", data)
			}
			b.WriteByte('\n')
			if d.IsDir() && dir != h.outside && path != dir {
				return fs.SkipDir
			}
			return nil
		})
		if !errors.Is(err, fs.ErrNotExist) {
			check(h.t, err)
		}
	}
	return b.String()
}

// outcomes is what a command said of each guest, by name: empty if it came
// through.
func (h *guestHost) outcomes(r result) map[string]string {
	h.t.Helper()
	var doc struct {
		Guests []struct {
			Guest, Error, Outcome, Why string
			Exit                       int
		}
	}
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil {
		h.t.Fatalf("%v: %v", err, r)
	}
	said := map[string]string{}
	for _, g := range doc.Guests {
		switch {
		case g.Error != "":
			said[g.Guest] = g.Error
		case g.Why != "":
			said[g.Guest] = g.Guest + ": " + g.Why
		default:
			said[g.Guest] = ""
		}
	}
	return said
}

// both runs a command for both guests. Whatever the hostile one is like: the
// program ends, in little memory, the good guest comes through, of the other
// there is at most one sentence, and the host is as it was. It returns that
// sentence.
func (h *guestHost) both(args ...string) string {
	h.t.Helper()
	before := h.hosts()
	r := h.guests(append([]string{"--json", "-g", h.fsid[:8] + "-web*"}, args...)...)
	said := h.outcomes(r)
	if why, was := said[h.good]; why != "" || !was {
		h.t.Errorf("the good guest did not come through: %q\n%v", why, r)
	}
	why, was := said[h.bad]
	if !was {
		h.t.Errorf("nothing is said of the hostile guest: %v", r)
	}
	h.sentence(why, r)
	if after := h.hosts(); after != before {
		h.t.Errorf("the host is not as it was:\n%s\nafter %v", differ(before, after), r)
	}
	return why
}

// sentence asserts that an error of the hostile guest is one that a terminal can
// be shown, and that it names it.
func (h *guestHost) sentence(why string, r result) {
	h.t.Helper()
	if why == "" {
		return
	}
	if !strings.HasPrefix(why, h.bad+": ") || strings.Contains(strings.TrimSpace(why), "\n") || len(why) > 2000 {
		h.t.Errorf("not one sentence that names it: %.3000q\n%v", why, r.args)
	}
}

// memoryOf is the most memory that a child of this process that runs the program
// has had, until ctx ends. What rusage says of one begins with what this process
// has.
func memoryOf(ctx context.Context, program string) (most int64) {
	for ctx.Err() == nil {
		tasks, _ := filepath.Glob("/proc/self/task/*/children")
		for _, task := range tasks {
			data, _ := os.ReadFile(task)
			for _, pid := range strings.Fields(string(data)) {
				if exe, err := os.Readlink("/proc/" + pid + "/exe"); err != nil || exe != program {
					continue
				}
				status, _ := os.ReadFile("/proc/" + pid + "/status")
				_, rest, _ := strings.Cut(string(status), "VmHWM:")
				if f := strings.Fields(rest); len(f) > 0 {
					kib, _ := strconv.ParseInt(f[0], 10, 64)
					most = max(most, kib<<10)
				}
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return most
}

// guests runs the program in bounds.
func (h *guestHost) guests(args ...string) result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.beadm, append([]string{"--config", h.conf}, args...)...)
	var most atomic.Int64
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		most.Store(memoryOf(ctx, cmd.Path))
	}()
	r := start(h.t, cmd)
	if ctx.Err() != nil {
		h.t.Errorf("it does not end: %v", r)
	}
	cancel()
	<-watched
	if rss := most.Load(); rss > hugest {
		h.t.Errorf("it took %d MiB of memory: %v", rss>>20, r.args)
	}
	h.said.WriteString(r.out + r.err)
	if i := strings.IndexFunc(r.out+r.err, func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' }); i >= 0 {
		h.t.Errorf("it printed what moves a cursor: %q %q", r.args, r.out+r.err)
	}
	if strings.Contains(r.err, "panic:") || strings.Contains(r.err, "goroutine ") {
		h.t.Errorf("%v", r)
	}
	h.noneOfOurs(r)
	return r
}

// nothingRead asserts that nothing of the host's files came to the guest, or
// out of the program.
func (h *guestHost) nothingRead() {
	h.t.Helper()
	if strings.Contains(h.said.String(), secret) {
		h.t.Errorf("what the host keeps was printed: %s", h.said.String())
	}
	err := filepath.WalkDir(h.place(h.bad), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() > 4<<20 {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(secret)) {
			h.t.Errorf("%s holds what the host keeps", path)
		}
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		check(h.t, err)
	}
}

// out are the targets of a link from a path in the guest's root to one of the
// host's.
func (h *guestHost) out(to string) []string {
	path := filepath.Join(h.outside, to)
	return []string{path, strings.Repeat("../", 24) + path[1:]}
}

// put replaces what is at path in the hostile guest's root by a link to one of the host's
// files, by its absolute or its relative path in turn.
func (h *guestHost) put(root string, i int, path, to string) {
	h.t.Helper()
	at := filepath.Join(root, path)
	check(h.t, os.MkdirAll(filepath.Dir(at), 0o755))
	exec.Command("chattr", "-i", at).Run()
	check(h.t, os.RemoveAll(at))
	check(h.t, os.Symlink(h.out(to)[i%2], at))
}

// A hostile guest among others: what it has in its root leads no command of
// beadm's out of it, and stops none for the others.
func TestHostileGuest(t *testing.T) {
	links := func(to string, paths ...string) func(h *guestHost, root string) {
		return func(h *guestHost, root string) {
			for i, path := range paths {
				h.put(root, i, path, to)
			}
		}
	}
	script := func(text string) func(h *guestHost, root string) {
		return func(h *guestHost, root string) {
			h.t.Helper()
			cmd := exec.Command("sh", "-ec", text)
			cmd.Dir, cmd.Env = root, append(os.Environ(), "HOST="+h.outside)
			if out, err := cmd.CombinedOutput(); err != nil {
				h.t.Fatalf("%v: %s", err, out)
			}
		}
	}
	names := func(dir string) func(h *guestHost, root string) {
		return func(h *guestHost, root string) {
			at := filepath.Join(root, dir)
			if os.MkdirAll(at, 0o755); len(sh(h.t, "ls", at)) > 0 {
				return
			}
			for i := range 200_000 {
				check(h.t, unix.Mknod(filepath.Join(at, strconv.Itoa(i)), unix.S_IFREG|0o644, 0))
			}
		}
	}
	for _, c := range []struct {
		name string
		make func(h *guestHost, root string)
		// fails are commands that must say what is wrong with it, by their
		// words, and what they must say.
		fails map[string]string
	}{
		{name: "account files", make: links("etc/shadow", "etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "etc/.pwd.lock", "etc/passwd.lock", "etc/shadow.lock", "etc/group.lock", "etc/subuid", "etc/subgid")},
		{name: "names that are read", make: links("etc/shadow", "etc/fstab", "etc/hostid", "etc/machine-id", "etc/mailname", "etc/beadm/identity", "etc/beadm/synclist", "etc/lu/synclist", "etc/selinux/config", "etc/synced", "var/lib/dpkg/status", "etc/hostname", "etc/os-release", "usr/lib/os-release", "etc/resolv.conf", "etc/localtime", "root/.ssh/authorized_keys", "etc/ssh/ssh_host_rsa_key", "etc/sudoers")},
		{name: "etc", make: links("etc", "etc", "tmp")},
		{name: "directories of etc", make: links("dir", "etc/beadm", "etc/lu", "etc/ssh", "etc/tmpfiles.d", "usr/lib/tmpfiles.d", "etc/systemd", "etc/apparmor.d", "etc/cron.d", "etc/sudoers.d", "root")},
		{name: "var", make: links("var", "var")},
		{name: "directories of var", make: links("var/spool", "var/share", "var/mail", "var/spool", "var/log", "var/tmp", "var/crash", "var/adm")},
		{name: "our names", make: links("dir", "var/.beadm-staged", "var/.beadm-old", ".beadm-old", ".beadm-staged", "var/share/.beadm-staged", "var/.beadm-new-0", "etc/.beadm-new-0", "etc/.beadm-saved", ".beadm", "@beadm", "@varshare", "@be-new", "var/share")},
		{name: "programs", make: links("program", "sbin/init", "usr/lib/beadm/init", "usr/sbin/beadm", "bin/sh", "usr/bin/apt-get", "bin/bash", "usr/lib/systemd/systemd")},
		{name: "directories of programs", make: links("dir", "sbin", "usr/lib", "usr/sbin", "run", "dev", "proc", "sys")},
		{name: "below shared directories", make: func(h *guestHost, root string) {
			for i, path := range []string{"var/mail/alice", "var/mail/bob", "var/log/messages", "var/spool/x", "var/spool/mail", "var/log/journal"} {
				h.put(root, i, path, []string{"etc/shadow", "dir"}[i%2])
			}
		}},
		{name: "links in circles", make: script(`for p in etc/shadow etc/beadm/synclist var/mail var/share var/.beadm-staged etc/fstab; do rm -rf $p; ln -s "${p##*/}" $p; done; rm -rf var/log var/spool/a; ln -s spool/a var/log; ln -s ../log/b var/spool/a`)},
		{name: "fifos", make: script(`for p in etc/beadm/synclist etc/shadow etc/passwd etc/fstab etc/hostname etc/hostid etc/synced etc/.pwd.lock var/mail/alice var/log/messages var/share sbin/init etc/os-release; do mkdir -p "$(dirname $p)"; rm -rf $p; mkfifo $p; done`)},
		{name: "device nodes", make: script(`rm -f etc/shadow etc/synced etc/beadm/synclist var/mail/alice etc/fstab etc/hostid var/spool/disk; mknod etc/shadow c 1 5; mknod etc/synced c 1 5; mknod etc/beadm/synclist c 1 5; mknod var/mail/alice c 1 5; mknod var/spool/disk b 7 250; mknod etc/fstab c 1 5; mknod etc/hostid c 1 8`)},
		{name: "an endless fstab", make: script(`truncate -s 10G etc/fstab`), fails: map[string]string{"create new": "/etc/fstab"}},
		{name: "endless files", make: script(`for p in etc/synced etc/hostid etc/hostname etc/os-release etc/beadm/identity etc/machine-id var/log/messages var/lib/dpkg/status usr/lib/tmpfiles.d/x.conf; do mkdir -p "$(dirname $p)"; truncate -s 10G $p; done; truncate -s 4E var/log/lastlog`),
			fails: map[string]string{"create new": "more than a guest may have on its synclist"}},
		{name: "endless account files", make: script(`truncate -s 1G etc/passwd etc/group etc/shadow`), fails: map[string]string{"create new": "more than a guest may have on its synclist"}},
		{name: "account files of empty lines", make: script(`for f in passwd group shadow gshadow; do head -c 4000000 /dev/zero | tr '\0' '\n' >etc/$f; done`), fails: map[string]string{"create new": "more than a guest may have on its synclist"}},
		{name: "a synced directory of 200000 names", make: names("etc/beadm/many"), fails: map[string]string{"create new": "more than a guest may have on its synclist"}},
		{name: "a mailbox of any number of messages", make: script(`yes 'From ' | sed G | head -c 30000000 >var/mail/alice; head -c 1000000 var/mail/alice >var/mail/bob`)},
		{name: "an endless synclist", make: script(`truncate -s 10G etc/beadm/synclist`), fails: map[string]string{"create new": "/etc/beadm/synclist: more than a guest may have on its synclist"}},
		{name: "a synclist of everything", make: script(`printf '/\n/../..\n../../etc/shadow\n/**\n/proc/**\n/dev/**\n%s/etc/shadow\n%s/**\n/.beadm/**\n/var/share/../../../**\n' "$HOST" "$HOST" >etc/beadm/synclist`)},
		{name: "garbage in the synclist", make: script(`head -c 900000 /dev/urandom >etc/beadm/synclist`)},
		{name: "a synclist of no end", make: script(`yes '/etc/{a,b}{c,d}*[a-z]**/x' | head -c 1000000 >etc/beadm/synclist`)},
		{name: "garbage in the account files", make: script(`for f in passwd shadow group gshadow; do head -c 3000000 /dev/urandom >etc/$f; done; yes '/ /etc/shadow none bind' | head -c 3000000 >etc/fstab; printf '../../../../etc/shadow\033[2J' >etc/hostname`)},
		{name: "names that are options and escapes", make: func(h *guestHost, root string) {
			for _, name := range []string{"-rf", "--help", "\x1b[2J", "a\nb", "\xff\xfe", "%s%n", strings.Repeat("x", 255)} {
				for _, dir := range []string{"var/mail", "var/log", "var/spool", "etc/beadm", "etc/cron.d", "etc/ssh"} {
					write(h.t, filepath.Join(root, dir, name), "x\n")
				}
			}
			write(h.t, filepath.Join(root, "etc/beadm/synclist"), "/etc/beadm\n/etc/cron.d\n/etc/ssh\n\x1b[2J\n")
		}},
		{name: "deep trees", make: func(h *guestHost, root string) {
			for _, dir := range []string{"var/mail", "etc/beadm", "var/lib"} {
				at := filepath.Join(root, dir)
				for range 12 {
					at = filepath.Join(at, strings.Repeat("d/", 100))
					deeper(h.t, at)
				}
			}
		}},
		{name: "subvolumes of its own", make: script(`for d in @be-new @beadm @varshare .beadm-new var/lib/x var/mail/s etc/s tmp/-t; do btrfs -q subvolume delete -- $d || rm -rf -- $d; btrfs -q subvolume create -- $d; done; btrfs -q subvolume delete tmp/itself || rm -rf tmp/itself; btrfs -q subvolume snapshot . tmp/itself; setfattr -n trusted.beadm -v x .; setfattr -n trusted.beadm.description -v "$(printf 'a\033[2J\nb')" .`)},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			h := newGuestHost(t)
			if r := h.guests("guest", "init", h.bad, h.good); r.code != 0 {
				t.Fatal(r)
			}
			c.make(h, h.badRoot())
			walk := func(args ...string) {
				t.Helper()
				why := h.both(args...)
				if want := c.fails[strings.Join(args[:min(len(args), 2)], " ")]; want != "" && !strings.Contains(why, want) {
					t.Errorf("%q said %q of it, not %q", args, why, want)
				}
			}
			walk("list")
			walk("status")
			walk("create", "new")
			walk("run", "new", "--", "/bin/true")
			walk("upgrade", "new", "--", "/bin/true")
			walk("sync", "status", "--to", "new")
			walk("activate", "--leave-behind", "new")
			walk("rollback")
			walk("share", "init", "--stop-all")
			walk("share", "status")
			walk("share", "snapshot", "kept")
			walk("share", "restore", "kept", "/var/mail", "/var/log", "/var/spool")
			// Once more, now that it is shared, and as it was made.
			walk("create", "newer")
			walk("upgrade", "newer", "--", "/bin/true")
			walk("activate", "--leave-behind", "newer")
			walk("sync", "run", "--from", "new")
			c.make(h, h.badRoot())
			walk("create", "newest")
			walk("activate", "--leave-behind", "newest")
			walk("share", "restore", "kept", "/var/mail", "/var/log", "/var/spool")
			walk("share", "snapshot", "-d", "kept")
			walk("share", "undo", "--stop-all")
			walk("share", "commit")
			walk("recover")
			walk("history")
			h.nothingRead()
			for _, args := range [][]string{{"guest", "list"}, {"guest", "status"}, {"guest", "boot"}, {"guest", "release", "--destroy", h.good}} {
				before := h.hosts()
				if r := h.guests(args...); strings.Contains(r.err, h.good+": ") || r.code != 0 && args[1] != "boot" {
					t.Error(r)
				}
				if after := h.hosts(); after != before && args[1] != "release" {
					t.Errorf("%q\n%s", args, differ(before, after))
				}
			}
			if got := read(t, filepath.Join(h.machines, h.good, "var/mail/alice")); got != "first mail\n" {
				t.Errorf("the good guest's mail is %q", got)
			}
		})
	}
}

// deeper makes a directory whose path may be longer than the kernel takes.
func deeper(t *testing.T, path string) {
	t.Helper()
	at, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	check(t, err)
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		if part == "" {
			continue
		}
		unix.Mkdirat(at, part, 0o755)
		next, err := unix.Openat(at, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		check(t, err)
		unix.Close(at)
		at = next
	}
	unix.Close(at)
}
