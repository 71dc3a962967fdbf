package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/activate"
	"beadm/activate/guest"
)

// What another command is taking in or giving out is not taken for cut.
func TestGuestThatLooksCut(t *testing.T) {
	needBtrfs(t)
	dir := t.TempDir()
	root, conf := filepath.Join(dir, "srv/db"), filepath.Join(dir, "beadm.conf")
	p := guest.Place{Root: root}
	check(t, os.MkdirAll(p.Dir(), 0o700))
	write(t, filepath.Join(p.Dir(), guest.Record), `{"dataset":"tank/m/db","at":"`+root+`"}`)
	write(t, conf, "guest.db.root = "+root+"\nguest.db.start = true\nguest.db.stop = true\nguest.db.running = exit 1\nguest.db.ready = true\n")
	run := func() (out string, code int) {
		cmd := exec.Command(program(t), "--config", conf, "guest", "init", "db")
		b, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(b), cmd.ProcessState.ExitCode()
	}
	lock, err := os.Create(filepath.Join(p.Dir(), "lock"))
	check(t, err)
	check(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	if out, code := run(); code != 11 || !strings.Contains(out, "another beadm is at work on guest db") {
		t.Errorf("exit %d: %s", code, out)
	}
	if _, err := os.Lstat(root); !os.IsNotExist(err) {
		t.Errorf("its root: %v", err)
	}
	check(t, lock.Close())
	run() // which comes no further than that here: nothing is on ZFS
	if info, err := os.Lstat(root); err != nil || !info.IsDir() {
		t.Errorf("its root: %v", err)
	}
}

// What a cut has left without a root is known, whatever runs it.
func TestGuestsThatAreCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lxc")
	t.Cleanup(func() { os.RemoveAll(filepath.Join("/run/lxc/lock", filepath.Dir(path))) })
	conf := activate.Conf{LXCPath: path, GuestDir: filepath.Join(dir, "machines"), GuestCommands: []activate.GuestCommands{{Name: "db1", Root: filepath.Join(dir, "srv/db")}, {Name: "db2", Root: filepath.Join(dir, "srv/whole")}}}
	for name, whole := range map[string]bool{"machines/web1": false, "machines/web2": true, "srv/db": false, "srv/whole": true, "lxc/c1/rootfs": false, "lxc/c2/rootfs": true} {
		p := guest.Place{Root: filepath.Join(dir, name)}
		check(t, os.MkdirAll(p.Dir(), 0o700))
		check(t, os.WriteFile(filepath.Join(p.Dir(), guest.Record), []byte("{}"), 0o600))
		if whole {
			check(t, os.Symlink(".beadm/"+filepath.Base(name)+"/@be-default", p.Root))
		}
		if of, ok := strings.CutSuffix(name, "/rootfs"); ok {
			write(t, filepath.Join(dir, of, "config"), "lxc.rootfs.path = btrfs:"+p.Root+"\n")
		}
	}
	check(t, os.MkdirAll(filepath.Join(dir, "machines/.beadm/web3"), 0o700))
	got := ""
	for _, g := range cutGuests(t.Context(), conf) {
		got += g.Runtime + ":" + g.Name + " "
	}
	if got != "command:db1 nspawn:web1 lxc:c1 " {
		t.Errorf("there are %q", got)
	}
}
