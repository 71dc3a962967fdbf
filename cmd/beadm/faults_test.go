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
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate/boot/stub"
	"beadm/be/state"
)

func (m *machine) wants(user, hash string) {
	m.t.Helper()
	if p := m.password(user); p != hash {
		m.t.Errorf("%s in %s has %q, wanted %q", user, m.boots, p, hash)
	}
}

// The loader cannot be written when OLD comes back.
func TestLoaderCannotBeWrittenOnTheWayBack(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	m.comeUp()
	m.is("trying", "new", "debian")
	m.setPassword("dave", "$6$evil$evil")
	m.loads()
	sh(t, "mount", "--bind", m.loader, m.loader)
	sh(t, "mount", "-o", "remount,ro,bind", m.loader)
	r := m.run("boot")
	sh(t, "umount", m.loader)
	t.Log(r)
	m.wants("dave", "$6$s$dave")
}

// A trial that is cut inside boot, after OLD's run was ended.
func TestLockAfterATrialCutInBoot(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	m.setPassword("dave", "$6$t$second")
	m.loads()
	sh(t, "chattr", "+i", filepath.Join(m.root, "etc"))
	r := m.run("boot")
	t.Log(r)
	sh(t, "chattr", "-i", filepath.Join(m.root, "etc"))
	m.comeUp()
	m.is("failed", "debian", "debian")
	m.setPassword("alice", "!$6$s$alice") // dismissed
	m.ok("create", "third")
	m.ok("activate", "new")
	m.comeUp()
	m.is("trying", "new", "debian")
	m.locked("alice")
}

// Owed, then recovered late: what B's administrator did is no run of B.
func TestChangesBeforeALateRecover(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "b")
	m.ok("activate", "--permanent", "b")
	m.setPassword("alice", "!$6$s$alice")
	m.loads()
	sh(t, "chattr", "+i", filepath.Join(m.root, "etc"))
	m.ok("boot")
	sh(t, "chattr", "-i", filepath.Join(m.root, "etc"))
	if m.status().Owed == "" {
		t.Fatal("nothing owed")
	}
	m.setPassword("bob", "!$6$s$bob") // in b, services run
	t.Log(m.run("recover"))
	m.locked("alice")
	m.locked("bob")
	m.ok("rollback")
	m.comeUp()
	m.is("idle", "debian", "debian")
	m.locked("alice")
	m.locked("bob")
}

// The state file system is gone.
func TestStateFileSystemGone(t *testing.T) {
	m := newMachine(t)
	m.ok("share", "init")
	sh(t, "umount", "-R", m.root)
	check(t, os.Rename(filepath.Join(m.top, "@beadm"), filepath.Join(m.top, "@gone")))
	m.mountRoot(m.boots)
	t.Log(m.run("boot"))
	if _, err := os.Stat(filepath.Join(m.root, "var/mail/.")); err != nil {
		t.Errorf("/var/mail leads nowhere, and boot said nothing: %v", err)
	}
	check(t, os.Rename(filepath.Join(m.top, "@gone"), filepath.Join(m.top, "@beadm")))
}

// A guest's /var/share leads out of it.
// A guest's identity is a FIFO.
func TestFifoForAnIdentity(t *testing.T) {
	m := newMachine(t)
	id := filepath.Join(m.root, "etc/beadm/identity")
	os.Remove(id)
	check(t, unix.Mkfifo(id, 0o600))
	cmd := exec.Command(m.beadm, "--root", m.root, "create", "x")
	check(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		t.Log(err)
	case <-time.After(8 * time.Second):
		t.Errorf("it hangs, and with the lock: %v", m.run("create", "y"))
		cmd.Process.Kill()
		<-done
	}
}

// Rollback after a rename of the previous one.
func TestRollbackToARenamedOne(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "--permanent", "new")
	m.comeUp()
	m.ok("rename", "debian", "old")
	if r := m.run("rollback"); r.code != 0 {
		t.Error(r)
	}
}

// A state or journal that cannot be read: is there any command that leads out?
func TestDamagedState(t *testing.T) {
	m := newMachine(t)
	state := filepath.Dir(m.journal())
	setup := []string{"setup", "--loader", "stub", "--loader-dir", m.loader}
	for i, c := range []struct {
		file, holds string
		mend        []string // what sets it aside
	}{
		{"journal.json", "{", []string{"recover"}},
		{"journal.json", "[]", []string{"recover"}},
		{"journal.json", `{"version":1,"op":"create","args":"x","step":"a"}`, []string{"recover"}},
		{"journal.json", `{"version":1,"op":"activate","args":{"name":3}}`, []string{"recover"}},
		{"state.json", "{", setup},
		{"state.json", `{"version":1,"trial":5}`, setup},
		{"sync/index.json", "{", []string{"recover"}},
	} {
		path := filepath.Join(state, c.file)
		check(t, os.WriteFile(path, []byte(c.holds), 0o600))
		if c.file == "journal.json" {
			m.says([]string{"running:  debian", "state:    idle", "to do:    beadm recover ends what is open"}, "status")
		}
		m.ok(c.mend...)
		m.ok("boot")
		m.is("idle", "debian", "debian")
		m.ok("create", fmt.Sprint("x", i))
		if kept, err := filepath.Glob(path + ".damaged-*"); err != nil || len(kept) != 1 || read(t, kept[0]) != c.holds {
			t.Errorf("%s: what it held is gone: %q", c.file, kept)
		} else {
			check(t, os.Remove(kept[0]))
		}
	}
}

// What a newer beadm left open is its own to end.
func TestJournalOfANewerBeadm(t *testing.T) {
	m := newMachine(t)
	check(t, os.WriteFile(filepath.Join(filepath.Dir(m.journal()), "journal.json"), []byte(`{"version":2,"op":"create","step":"a"}`), 0o600))
	for _, a := range [][]string{{"recover"}, {"create", "x"}} {
		m.refused(13, "has format 2", a...)
	}
}

// Snapshots of the shared data, one for each switch, for ever.
// beadm.conf that a newer package brought.
func TestConfigurationThatCannotBeRead(t *testing.T) {
	m := newMachine(t)
	write(t, filepath.Join(m.root, "etc/beadm/beadm.conf"), "new.key = 1\n")
	for _, a := range [][]string{{"boot"}, {"status"}, {"rollback"}, {"recover"}} {
		if r := m.run(a...); r.code == 2 {
			t.Error(r)
		}
	}
}

// Made by another tool: it has no uuid yet.
func TestActivateOneThatAnotherToolMade(t *testing.T) {
	m := newMachine(t)
	sh(t, "umount", "-R", m.root)
	sh(t, "btrfs", "-q", "subvolume", "snapshot", filepath.Join(m.top, "@debian"), filepath.Join(m.top, "@be-alien"))
	m.mountRoot(m.boots)
	t.Log(m.run("activate", "alien"))
	t.Log(m.run("recover"))
	snaps, _ := filepath.Glob(filepath.Join(m.top, "@beadm-snapshots/*/beadm-activate-*"))
	if len(snaps) > 0 {
		t.Errorf("left over: %q", snaps)
	}
}

// A read-only state file system: nobody is told.
// host runs beadm as on a host: in a mount name space of its own, chrooted
// into the root, with a kernel command line. It is not process 1 and resets
// nothing.
func (m *machine) host(cmdline string, args ...string) result {
	m.t.Helper()
	if args[0] != "boot" && args[0] != "status" && args[0] != "recover" {
		m.t.Fatal("never")
	}
	file := filepath.Join(m.t.TempDir(), "cmdline")
	write(m.t, file, cmdline+"\n")
	for _, d := range []string{"proc", "sys", "dev", "run"} {
		check(m.t, os.MkdirAll(filepath.Join(m.root, d), 0o755))
	}
	check(m.t, os.MkdirAll(filepath.Join(m.root, m.loader), 0o755))
	script := fmt.Sprintf(`set -e; R=%[1]s
mount --make-rprivate /
mount --bind /dev $R/dev; mount -t proc proc $R/proc; mount -t sysfs sysfs $R/sys 2>/dev/null || mount --bind /sys $R/sys
mount -t tmpfs tmpfs $R/run; mkdir -p $R/run/x
mount --bind %[2]s $R%[2]s
mount --bind %[3]s $R/proc/cmdline
mkdir -p $R/run/b; cp %[4]s $R/run/b/beadm
chroot $R /run/b/beadm "$@"; rc=$?; ls $R/run/systemd/system 2>/dev/null >&2 || true; exit $rc`, m.root, m.loader, file, m.beadm)
	cmd := exec.Command("unshare", append([]string{"-m", "sh", "-c", "set +e; " + script, "sh"}, args...)...)
	return start(m.t, cmd)
}

func (m *machine) hostSetup() {
	m.t.Helper()
}

func (m *machine) consume() (id string, trial bool) {
	m.t.Helper()
	id, trial, err := stub.Consume(m.loader)
	check(m.t, err)
	return
}

func TestLoaderUnreadableOnTheWayBack(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	m.comeUp()
	m.is("trying", "new", "debian")
	m.setPassword("dave", "$6$evil$evil")
	m.loads()
	env := filepath.Join(m.loader, "env")
	check(t, os.Rename(env, env+".gone"))
	t.Log(m.host("quiet", "boot"))
	check(t, os.Rename(env+".gone", env))
	t.Logf("%+v", m.status())
	m.wants("dave", "$6$s$dave")
	t.Log(m.host("quiet", "boot"))
	t.Logf("%+v", m.status())
	m.wants("dave", "$6$s$dave")
}

func TestLoaderUnreadableThenRecover(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	m.comeUp()
	m.setPassword("dave", "$6$evil$evil")
	m.loads()
	env := filepath.Join(m.loader, "env")
	check(t, os.Rename(env, env+".gone"))
	t.Log(m.host("quiet", "boot"))
	check(t, os.Rename(env+".gone", env))
	t.Log(m.run("recover"))
	t.Logf("%+v", m.status())
	m.wants("dave", "$6$s$dave")
}

func TestStateFileSystemGoneInATrial(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	id, _ := m.consume()
	m.switchTo("@be-new")
	sh(t, "umount", "-R", m.root)
	check(t, os.Rename(filepath.Join(m.top, "@beadm"), filepath.Join(m.top, "@gone")))
	m.mountRoot(m.boots)
	r := m.host("quiet beadm.be="+id+" beadm.trial=1", "boot")
	if r.code == 0 {
		t.Errorf("a trial without a dead-man timer goes on: %v", r)
	}
	check(t, os.Rename(filepath.Join(m.top, "@gone"), filepath.Join(m.top, "@beadm")))
}

func TestTrialPickedAgainIsNoTrial(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	id, _ := m.consume()
	m.switchTo("@be-new")
	t.Log(m.host("quiet beadm.be="+id+" beadm.trial=1", "boot"))
	m.ok("rollback") // any verdict
	// The default cannot be loaded; GRUB's $fallback starts NEW, without beadm.trial=1.
	for range 3 {
		sh(t, "umount", "-R", m.root)
		m.mountRoot("@be-new")
		t.Log(m.host("quiet beadm.be="+id, "boot"))
		if st := m.status(); st.State == "trying" {
			t.Errorf("it is a trial again, to be reset at %v: %+v", st.Trial.Ends, st)
		}
	}
}

func TestDebtsOutliveAThird(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "b")
	m.ok("create", "c")
	m.ok("activate", "--permanent", "b")
	m.setPassword("alice", "!$6$s$alice")
	m.loads()
	at := t.TempDir()
	sh(t, "mount", "-o", "subvol=@debian", m.device, at)
	m.ok("boot")
	if m.status().Owed == "" {
		t.Fatal("nothing owed")
	}
	m.refused(4, "were not carried over yet", "destroy", "-F", "debian")
	// Still owed where a third one boots, and still by the first.
	m.switchTo("@be-c")
	m.ok("boot")
	if m.status().Owed == "" {
		t.Error("the debt is forgotten")
	}
	m.refused(4, "were not carried over yet", "destroy", "-F", "debian")
	sh(t, "umount", at)
	m.ok("recover")
	m.locked("alice")
	m.switchTo("@be-b")
	m.ok("boot")
	m.locked("alice")
	m.ok("confirm")
	m.ok("destroy", "-F", "debian")
}

// A BE from before the relocation, picked at the menu while the shared data cannot be mounted.
func TestDestroyWithALoaderThatCannotBeWritten(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "--permanent", "new")
	m.comeUp()
	sh(t, "mount", "--bind", m.loader, m.loader)
	sh(t, "mount", "-o", "remount,ro,bind", m.loader)
	r := m.run("destroy", "-F", "debian")
	if r.code == 0 || r.code == 13 {
		t.Error(r)
	}
	// Nothing is gone, and nothing else is refused for it.
	if out := m.ok("list"); !strings.Contains(out, "debian") {
		t.Error(out)
	}
	m.ok("create", "x")
	sh(t, "umount", m.loader)
	m.ok("rollback")
	m.comeUp()
	m.is("idle", "debian", "debian")
}

// The previous boot environment is patched; rollback makes it the default by its old menu entry.
func TestRollbackWritesTheEntry(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "--permanent", "new")
	m.comeUp()
	m.ok("rename", "debian", "old")
	entries, err := filepath.Glob(filepath.Join(m.loader, "entries/*"))
	check(t, err)
	for _, e := range entries {
		check(t, os.WriteFile(e, []byte(strings.ReplaceAll(read(t, e), "be-old", "be-stale")), 0o600))
	}
	m.ok("rollback")
	m.comeUp()
	m.is("idle", "old", "old")
}

func TestActivateLeavesAUsersMount(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	dir := strings.TrimSpace(m.ok("mount", "new"))
	cmd := exec.Command("sleep", "100")
	cmd.Dir = dir
	check(t, cmd.Start())
	defer cmd.Process.Kill()
	m.refused(4, "unmount it first", "activate", "new")
	if _, err := os.Stat(filepath.Join(dir, "etc/passwd")); err != nil {
		t.Errorf("the user's mount is gone: %v", err)
	}
}

func TestWhatComesBackIsTheDefault(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "third")
	m.ok("activate", "--permanent", "new")
	m.ok("activate", "third")
	if m.status().Trial.From != "new" {
		t.Errorf("says that %s comes back; the loader's default is new", m.status().Trial.From)
	}
}

func TestLoaderReplacedWhileATrialIsUnsettled(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	m.comeUp()
	m.loads() // the trial failed, debian runs; and the loader's partition is a new, empty one
	check(t, os.RemoveAll(m.loader))
	fresh := filepath.Join(t.TempDir(), "loader")
	check(t, os.Mkdir(fresh, 0o755))
	for _, a := range [][]string{{"boot"}, {"recover"}, {"rollback"}, {"setup", "--loader", "stub", "--loader-dir", fresh}} {
		r := m.run(a...)
		t.Log(r)
		if a[0] == "setup" && r.code != 0 {
			t.Error("nothing ends this state")
		}
	}
}

func TestThirdPickedWhileArmed(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "third")
	m.ok("activate", "new")
	m.setPassword("dave", "$6$t$second")
	write(t, filepath.Join(m.root, "etc/passwd"), read(t, filepath.Join(m.root, "etc/passwd"))+"erin:x:1009:1009::/home/erin:/bin/sh\n")
	_, _, err := stub.Consume(m.loader)
	check(t, err)
	m.switchTo("@be-third")
	m.ok("boot")
	t.Log(m.ok("status"))
	if p := m.password("dave"); p != "$6$t$second" {
		t.Errorf("dave's password is lost in third: %q", p)
	}
	if !strings.Contains(read(t, filepath.Join(m.root, "etc/passwd")), "erin") {
		t.Error("erin lost in third")
	}
	m.ok("status", "--acknowledge")
	m.switchTo("@debian")
	m.ok("boot")
	m.ok("activate", "--permanent", "new")
	m.comeUp()
	if !strings.Contains(read(t, filepath.Join(m.root, "etc/passwd")), "erin") {
		t.Error("erin lost in new, too: debian's run counts as failed")
	}
}

func TestStateWithoutALoader(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	files, _ := filepath.Glob(filepath.Join(m.top, "@beadm/*/state.json"))
	check(t, os.Remove(files[0]))
	for _, a := range [][]string{{"status"}, {"boot"}, {"recover"}, {"activate", "new"}, {"rename", "new", "x"}} {
		r := m.run(a...)
		if strings.Contains(r.err, "panic") {
			r.err = r.err[:200]
			t.Error(r)
		} else {
			t.Log(r)
		}
	}
}

// What an upgrade left half done is neither activated nor rolled back to; a
// clone of it is as little, one of a snapshot from before is.
func TestHalfUpgraded(t *testing.T) {
	m := newMachine(t)
	if !m.addShell() {
		t.Fatal("this needs /bin/busybox (package busybox-static)")
	}
	m.ok("create", "new")
	m.ok("activate", "--permanent", "new")
	m.refused(4, "it is what boots next", "upgrade", "new", "--", "/bin/true")
	m.comeUp()
	m.is("idle", "new", "new")
	m.ok("create", "-e", "debian", "whole")
	time.Sleep(1100 * time.Millisecond)
	if r := m.run("upgrade", "debian", "--", "/bin/sh", "-c", "exit 1"); r.code != 1 || !strings.Contains(r.err, "ended with status 1") {
		t.Error(r)
	}
	m.refused(5, "did not end well", "activate", "--leave-behind", "debian")
	m.refused(5, "did not end well", "rollback")
	m.is("idle", "new", "new")
	m.ok("create", "-e", "debian", "half")
	m.refused(5, "did not end well", "activate", "--leave-behind", "half")
	before, err := filepath.Glob(filepath.Join(m.top, "@beadm-snapshots/*/beadm-create-*"))
	check(t, err)
	from := ""
	for _, s := range before {
		if r := m.run("create", "-e", "debian@"+filepath.Base(s), "from-"+filepath.Base(s)[13:17]); r.code == 0 && from == "" {
			from = "from-" + filepath.Base(s)[13:17]
			if r := m.run("activate", "--leave-behind", from); r.code == 0 {
				m.ok("activate", "-T")
				break
			}
			from = ""
		}
	}
	if from == "" {
		t.Error("no clone of a snapshot from before the upgrade can be activated")
	}
	m.ok("upgrade", "debian", "--", "/bin/true")
	m.ok("rollback")
	m.is("idle", "new", "debian")
}

// rename was cut behind its first step, and its boot environment is gone since:
// that is no reason for every later command to be refused.
func TestNoDeadEndOfARename(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	var st state.State
	check(t, json.Unmarshal([]byte(read(t, filepath.Join(filepath.Dir(m.journal()), "state.json"))), &st))
	m.ok("activate", "-T")
	write(t, m.journal(), `{"version":1,"op":"rename","args":{"from":"new","to":"newer","uuid":"`+string(st.Trial.BE)+`","had_entry":true},"step":0,"done":true,"name":"take new out of the boot menu"}`)
	sh(t, "btrfs", "subvolume", "delete", m.top+"/@be-new")
	m.ok("create", "x")
	m.is("idle", "debian", "debian")
}
