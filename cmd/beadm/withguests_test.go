//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/activate"
	"beadm/activate/boot"
	"beadm/activate/boot/stub"
	"beadm/cmd/beadm/render"
)

// hosted is a machine whose programs run in its own root, as on a host, with two
// guests on a subvolume of their own that commands run: no process, but what a
// guest was started from is noted.
type hosted struct {
	*machine
	cmdline string
	systemd bool // the host looks as if systemd ran it
}

const guestsAt = "srv/machines"

func newHosted(t *testing.T) *hosted {
	t.Helper()
	m := newBareMachine(t)
	if !m.addShell() {
		t.Fatal("there is no /bin/busybox: install busybox-static")
	}
	h := &hosted{machine: m, cmdline: "quiet"}
	sh(t, "btrfs", "-q", "subvolume", "create", filepath.Join(m.top, "@machines"))
	write(t, filepath.Join(m.root, "etc/fstab"), read(t, filepath.Join(m.root, "etc/fstab"))+"UUID="+m.fsid+" /"+guestsAt+" btrfs subvol=/@machines 0 0\n")
	for _, dir := range []string{guestsAt, "usr/lib/systemd", "usr/sbin", "usr/bin"} {
		check(t, os.MkdirAll(filepath.Join(m.root, dir), 0o755))
	}
	// What watches a trial are units of systemd's; here the test does.
	write(t, filepath.Join(m.root, "usr/lib/systemd/systemd"), "systemd\n")
	check(t, os.Remove(filepath.Join(m.root, "sbin/init")))
	check(t, os.Symlink("../usr/lib/systemd/systemd", filepath.Join(m.root, "sbin/init")))
	conf := "guest.hold = 1s\nguest.within = 10s\n"
	for _, name := range []string{"web1", "web2"} {
		root := filepath.Join(m.top, "@machines", name)
		sh(t, "btrfs", "-q", "subvolume", "create", root)
		for _, dir := range []string{"etc", "sbin", "dev", "proc", "sys", "run", "var/log"} {
			check(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
		}
		write(t, filepath.Join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\n")
		write(t, filepath.Join(root, "sbin/init"), "#!/bin/sh\n")
		at := "/" + guestsAt + "/" + name
		for _, line := range []string{
			"root = " + at,
			"start = /bin/busybox readlink " + at + " >" + at + ".on",
			"stop = /bin/busybox rm " + at + ".on",
			"running = [ -e " + at + ".on ]",
			// The hand that ends beadm when it is asked how the guest is.
			"ready = [ ! -e " + at + ".kill ] || kill -9 $PPID; if [ -e " + at + ".ill ]; then echo ill; fi" +
				"; if [ -e " + at + ".meanwhile ]; then . " + at + ".meanwhile; fi",
		} {
			conf += "guest." + name + "." + line + "\n"
		}
	}
	write(t, filepath.Join(m.root, "etc/beadm/beadm.conf"), conf)
	h.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	h.ok("guest", "init", "web1", "web2")
	h.startGuests()
	return h
}

// run runs beadm in the root, in a mount name space of its own. Nothing of it
// resets this machine: no systemd runs there, and it is given no watchdog.
func (h *hosted) run(args ...string) result {
	h.t.Helper()
	for _, word := range args {
		if word == "--auto" || word == "--reboot" || strings.HasPrefix(word, "trial-") {
			h.t.Fatal("never")
		}
	}
	file := filepath.Join(h.t.TempDir(), "cmdline")
	write(h.t, file, h.cmdline+"\n")
	check(h.t, os.MkdirAll(filepath.Join(h.root, h.loader), 0o755))
	script := fmt.Sprintf(`set -e; R=%[1]s
mount --make-rprivate /
mount --bind /dev $R/dev; mount -t proc proc $R/proc; mount -t sysfs sysfs $R/sys 2>/dev/null || mount --bind /sys $R/sys
mount -o bind,ro $R/proc/sys $R/proc/sys
mount -t tmpfs tmpfs $R/run
mount --bind %[2]s $R%[2]s
mount --bind %[3]s $R/proc/cmdline
mount -o subvol=@machines %[5]s $R/%[6]s
[ %[7]v = false ] || mkdir -p $R/run/systemd/system
mkdir $R/run/b; cp %[4]s $R/run/b/beadm
exec chroot $R /run/b/beadm "$@"`, h.root, h.loader, file, h.beadm, h.device, guestsAt, h.systemd)
	return start(h.t, exec.Command("unshare", append([]string{"-m", "sh", "-c", script, "sh"}, args...)...))
}

func (h *hosted) ok(args ...string) string {
	h.t.Helper()
	r := h.run(args...)
	if r.code != 0 {
		h.t.Fatal(r)
	}
	return r.out
}

func (h *hosted) file(name, ending string) string {
	return filepath.Join(h.top, "@machines", name+ending)
}

func (h *hosted) startGuests() {
	h.t.Helper()
	for _, name := range []string{"web1", "web2"} {
		to, err := os.Readlink(h.file(name, ""))
		check(h.t, err)
		write(h.t, h.file(name, ".on"), to+"\n")
	}
}

// reboots plays the loader, the boot, and the unit that makes guests ready before
// they are started.
func (h *hosted) reboots() {
	h.t.Helper()
	id, trial, err := stub.Consume(h.loader)
	check(h.t, err)
	e, err := stub.ReadEntry(h.loader, id)
	check(h.t, err)
	for _, name := range []string{"web1", "web2"} {
		os.Remove(h.file(name, ".on"))
	}
	h.switchTo(strings.TrimPrefix(e.Root.Prefix, "/"))
	h.cmdline = boot.ArgBE + "=" + id
	if trial {
		h.cmdline += " " + boot.ArgTrial + "=1"
	}
	h.ok("boot")
	h.ok("guest", "boot")
	h.startGuests()
}

// is says how the host stands and what its guests were started from, each with
// its own state.
func (h *hosted) is(word, running, def string, guests ...string) {
	h.t.Helper()
	var st activate.Status
	check(h.t, json.Unmarshal([]byte(h.ok("--json", "status")), &st))
	if st.State != word || st.Running != running || st.Default != def || st.Open != "" {
		h.t.Errorf("the host is %s, runs %s, default %s, open %q; wanted %s, %s, %s", st.State, st.Running, st.Default, st.Open, word, running, def)
	}
	var list []activate.GuestStanding
	check(h.t, json.Unmarshal([]byte(h.ok("--json", "guest", "status")), &list))
	for i, g := range list {
		from := strings.TrimSpace(filepath.Base(read(h.t, h.file(g.Name, ".on"))))
		if got := g.Runs + " " + g.State; got != guests[i] || from != "@be-"+g.Runs+"" || !g.Running {
			h.t.Errorf("%s: %s, runs %v from %s; wanted %s", g.Name, got, g.Running, from, guests[i])
		}
	}
	if len(list) != len(guests) || h.t.Failed() {
		h.t.Fatalf("%+v", list)
	}
}

func TestHostAndGuests(t *testing.T) {
	h := newHosted(t)
	if out := h.ok("create", "new", "--with-guests", "-n"); !strings.Contains(out, "would create new in command:web2\n") {
		t.Errorf("the dry run says:\n%s", out)
	}
	h.ok("create", "new", "--with-guests")
	h.is("idle", "debian", "debian", "default idle", "default idle")
	var list []render.Listed
	check(t, json.Unmarshal([]byte(h.ok("--json", "list")), &list))
	for _, b := range list {
		if len(b.Guests) != 2 || b.Guests[0].Guest != "command:web1" || b.Name == "new" && b.Guests[0].Name != "new" || b.Name == "debian" && b.Guests[0].Name != "default" {
			t.Errorf("%+v", b)
		}
	}
	if out := h.ok("activate", "new", "-n"); !strings.Contains(out, "would arm one trial of new in command:web1\n") {
		t.Errorf("the dry run says:\n%s", out)
	}
	h.ok("activate", "new")
	h.is("armed", "debian", "debian", "default armed", "default armed")
	if out := h.ok("status"); !strings.Contains(out, "guest:    command:web1 runs default; new starts with the host's\n") {
		t.Errorf("status says:\n%s", out)
	}
	h.ok("-g", "*", "recover")
	h.is("armed", "debian", "debian", "default armed", "default armed")

	// The trial fails: all come back.
	h.reboots()
	h.is("trying", "new", "debian", "new trying", "new trying")
	h.reboots()
	h.is("failed", "debian", "debian", "default failed", "default failed")
	if out := h.ok("guest", "status"); strings.Count(out, "its host went back") != 2 {
		t.Errorf("guest status says:\n%s", out)
	}
	h.ok("status", "--acknowledge")
	h.ok("-g", "*", "status", "--acknowledge")

	// It succeeds, and one guest is ill: that goes back alone.
	h.ok("activate", "new")
	h.reboots()
	write(t, h.file("web2", ".ill"), "")
	r := h.run("confirm")
	if r.code != 15 || !strings.Contains(r.err, "command:web2") || !strings.Contains(r.err, "1 of 2 guests") {
		t.Error(r)
	}
	check(t, os.Remove(h.file("web2", ".ill")))
	h.is("idle", "new", "new", "new idle", "default failed")
	if out := h.ok("status"); !strings.Contains(out, "guest:    command:web2 runs default, not new: check failed: ") {
		t.Errorf("status says:\n%s", out)
	}
	h.ok("-g", "web2", "status", "--acknowledge")
	h.ok("-g", "web2", "activate", "new")
	h.is("idle", "new", "new", "new idle", "new idle")

	// Back, all of them.
	h.ok("rollback")
	h.is("idle", "new", "debian", "new armed", "new armed")
	h.reboots()
	h.is("idle", "debian", "debian", "default idle", "default idle")

	// destroy.
	r = h.run("destroy", "-F", "new", "-n")
	if r.code != 0 || !strings.Contains(r.err, "new of command:web1, new of command:web2") {
		t.Error(r)
	}
	h.ok("destroy", "-F", "new", "--with-guests")
	for _, name := range []string{"web1", "web2"} {
		if out := h.ok("-g", name, "list", "-H"); strings.Contains(out, "new;") {
			t.Errorf("%s has it still:\n%s", name, out)
		}
	}
	// One guest alone, by a pattern.
	h.ok("create", "one", "--with-guests=*2")
	if out := h.ok("-g", "web1", "list", "-H"); strings.Contains(out, "one;") {
		t.Errorf("web1 has it:\n%s", out)
	}
	h.ok("activate", "one")
	h.is("armed", "debian", "debian", "default idle", "default armed")
	h.ok("activate", "-T")
	h.is("idle", "debian", "debian", "default idle", "default idle")
}

// What a boot environment of the host takes along stays in its guests, unless it
// goes itself; what the host runs has no need of more than what they run.
func TestHostKeepsWhatItTakesAlong(t *testing.T) {
	h := newHosted(t)
	stays := func(what, with string) {
		t.Helper()
		for _, args := range [][]string{{"-n"}, {"-F"}, {"-F", "-f"}} {
			r := h.run(append([]string{"-g", "web1", "destroy", what}, args...)...)
			if r.code != 4 || !strings.Contains(r.err, "cannot destroy "+what+": it belongs to the host's boot environment "+with+", which takes it along") {
				t.Error(r)
			}
		}
		// One that is the guest's previous one stays for that.
		r := h.run("-g", "web1", "-v", "prune", "--keep", "0", "-F")
		if r.code != 0 || !strings.Contains(r.out, "keeps "+what+": it ") || what != "third" && !strings.Contains(r.out, "keeps "+what+": it belongs to the host's boot environment "+with+", which takes it along") {
			t.Error(r)
		}
		if out := h.ok("-g", "web1", "list", "-H"); !strings.Contains(out, what+";") {
			t.Fatalf("%s has gone:\n%s", what, out)
		}
	}
	h.ok("create", "new", "--with-guests")
	h.ok("-g", "web1", "create", "other")
	stays("new", "new")
	h.ok("-g", "web1", "snapshot", "new@then")
	if r := h.run("-g", "web1", "rollback", "new@then"); r.code != 4 || !strings.Contains(r.err, "cannot roll back new: it belongs to the host's boot environment new") {
		t.Error(r)
	}

	// Not yet confirmed, and once it is: the way back of the host is the guest's.
	h.ok("activate", "new")
	h.reboots()
	h.ok("confirm")
	h.ok("-g", "web1", "create", "third")
	h.ok("-g", "web1", "activate", "third")
	stays("default", "debian")
	// What the host notes when it goes is what they run then.
	h.ok("-g", "web1", "destroy", "-F", "new")

	h.ok("rollback")
	h.reboots()
	h.is("idle", "debian", "debian", "default idle", "default idle")
	stays("third", "new")
	h.ok("destroy", "-F", "new")
	h.ok("-g", "web1", "destroy", "-F", "third")
}

// While create -a switches one guest, another command arms a trial of the next:
// that is its own, and create -a says that it did not come to that guest.
func TestGuestIsArmedByAnotherMeanwhile(t *testing.T) {
	h := newHosted(t)
	for i, then := range []struct{ does, says, runs string }{
		{"/run/b/beadm -g web2 create other0; /run/b/beadm -g web2 activate other0", "taken its trial back meanwhile, or carried it out", "other0"},
		{"/run/b/beadm -g web2 activate -T", "taken its trial back meanwhile, or carried it out", "other0"},
	} {
		name := fmt.Sprintf("new%d", i)
		at := h.file("web1", ".meanwhile")
		write(t, at, "/bin/busybox rm /"+guestsAt+"/web1.meanwhile; ( "+then.does+" ) >/dev/null 2>&1\n")
		r := h.run("-g", "web*", "create", "-a", name)
		if r.code != 15 || !strings.Contains(r.out+r.err, then.says) {
			t.Error(r)
		}
		if _, err := os.Lstat(at); err == nil {
			t.Fatal("nothing came between")
		}
		h.is("idle", "debian", "debian", name+" idle", then.runs+" idle")
	}
}

// beadm is killed when one guest is armed, and the other, and the host, are not.
func TestHostAndGuestsKilledBetween(t *testing.T) {
	for name, then := range map[string]func(h *hosted){
		"recover": func(h *hosted) { h.ok("recover") },
		"reboot":  func(h *hosted) { h.reboots() },
		"again": func(h *hosted) {
			h.ok("activate", "new")
			h.is("armed", "debian", "debian", "default armed", "default armed")
			h.ok("activate", "-T")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHosted(t)
			h.ok("create", "new", "--with-guests")
			write(t, h.file("web2", ".kill"), "")
			if r := h.run("activate", "new"); r.code != -1 && r.code != 137 {
				t.Fatal(r)
			}
			check(t, os.Remove(h.file("web2", ".kill")))
			if out := h.ok("guest", "status"); strings.Count(out, "armed") != 1 {
				t.Fatalf("guest status says:\n%s", out)
			}
			then(h)
			if out := h.run("status"); strings.Contains(out.out, "OPEN") {
				h.ok("recover")
			}
			h.is("idle", "debian", "debian", "default idle", "default idle")
			h.reboots()
			h.is("idle", "debian", "debian", "default idle", "default idle")
		})
	}
}

func TestWithGuestsIsRefused(t *testing.T) {
	h := newHosted(t)
	refused := func(code int, says string, args ...string) {
		t.Helper()
		before := h.snapshotWorld()
		r := h.run(args...)
		if r.code != code || !strings.Contains(r.err, says) || strings.Count(r.err, "\n") != 1 || r.out != "" {
			t.Errorf("wanted: exit %d and %q\n%v", code, says, r)
		}
		if after := h.snapshotWorld(); after != before {
			t.Errorf("it changed\n%s\nafter %v", differ(before, after), r)
		}
	}
	refused(2, "-g and --with-guests exclude each other", "-g", "web1", "create", "new", "--with-guests")
	refused(2, "-g and --with-guests exclude each other", "-g", "web1", "destroy", "-F", "new", "--with-guests")
	refused(2, "give neither -e nor --empty", "create", "new", "--with-guests", "-e", "debian")
	refused(2, "give no --root", "--root", "/srv", "create", "new", "--with-guests")
	refused(2, "a word of --with-guests is empty", "create", "new", "--with-guests=")
	refused(2, "--with-guests is for boot environments", "create", "debian@x", "--with-guests")
	refused(2, "--with-guests is for boot environments", "destroy", "-F", "debian@x", "--with-guests")
	refused(3, "there is no guest db*", "create", "new", "--with-guests=db*")
	h.ok("-g", "web2", "create", "new")
	refused(4, "guest command:web2: the boot environment new exists already", "create", "new", "--with-guests")

	// Within the host's root the new one would not have them.
	sh(t, "btrfs", "-q", "subvolume", "create", filepath.Join(h.root, "srv/web3"))
	for _, dir := range []string{"etc", "sbin", "dev", "proc", "sys", "run"} {
		check(t, os.MkdirAll(filepath.Join(h.root, "srv/web3", dir), 0o755))
	}
	conf := filepath.Join(h.root, "etc/beadm/beadm.conf")
	text := read(t, conf)
	for _, line := range []string{"root = /srv/web3", "start = true", "stop = true", "running = exit 1", "ready = true"} {
		text += "guest.web3." + line + "\n"
	}
	write(t, conf, text)
	h.ok("guest", "init", "web3")
	refused(5, "the boot environments of guest command:web3 are within that of the host", "create", "other", "--with-guests")
	check(t, unix.Access(filepath.Join(h.root, "srv/.beadm/web3/@be-default"), unix.F_OK))

	// One that cannot be read counts where it may be asked for.
	write(t, conf, strings.Replace(text, "running = exit 1", "running = echo no bus >&2; exit 2", 1))
	refused(1, "no bus", "create", "other", "--with-guests")
	refused(1, "no bus", "create", "other", "--with-guests=web3")
	if r := h.run("create", "other", "--with-guests=web1"); r.code != 0 || !strings.Contains(r.err, "no bus") {
		t.Error(r)
	}
}
