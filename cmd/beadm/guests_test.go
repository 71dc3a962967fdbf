//go:build linux

package main

import (
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
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/activate/guest/lxc"
	"beadm/activate/guest/nspawn"
)

// guests is a host with nspawn machines on a real btrfs: Debians that write mail
// and a log without rest, each line with the next number.
type guests struct {
	t       *testing.T
	beadm   string
	dir     string // of the machines
	lxc     string // of the containers
	conf    string
	nspawn  *nspawn.Runtime
	runtime map[string]guest.Runtime // by guest
	names   []string
}

// newGuests makes n of them, none of which runs yet. Their names are prefix01,
// prefix02, and no other test's.
func newGuests(t *testing.T, prefix string, n int) *guests {
	t.Helper()
	needBtrfs(t)
	// Not beside others: a machine holds what is mounted when it starts, and a
	// disk that another test takes away then stays in use.
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		t.Fatalf("this test boots machines: %v; install systemd-container", err)
	}
	work := t.TempDir()
	h := &guests{t: t, beadm: program(t), dir: filepath.Join(work, "machines"), conf: filepath.Join(work, "beadm.conf"), runtime: map[string]guest.Runtime{}}
	h.lxc = filepath.Join(h.dir, ".lxc")
	tar := strings.TrimSpace(sh(t, "sh", "../../testdata/demo/cached.sh"))
	image := filepath.Join(work, "disk.img")
	f, err := os.Create(image)
	check(t, err)
	check(t, f.Truncate(8<<30))
	check(t, f.Close())
	sh(t, "mkfs.btrfs", "-q", image)
	check(t, os.Mkdir(h.dir, 0o700))
	sh(t, "mount", "-o", "loop", image, h.dir)
	t.Cleanup(func() { sh(t, "umount", "-R", h.dir) })
	template := filepath.Join(h.dir, ".template")
	sh(t, "btrfs", "-q", "subvolume", "create", template)
	sh(t, "tar", "-C", template, "-xf", tar)
	write(t, h.conf, "guest.nspawn.dir = "+h.dir+"\nguest.lxc.path = "+h.lxc+"\nguest.hold = 1s\nguest.within = 60s\n")
	manyInotify(t)
	check(t, os.Mkdir(h.lxc, 0o711))
	h.nspawn = nspawn.New(nspawn.Config{Dir: h.dir, LogDir: filepath.Join(work, "log")})
	check(t, os.MkdirAll("/run/systemd/nspawn", 0o755))
	for i := range n {
		name := fmt.Sprintf("%s%02d", prefix, i+1)
		h.names = append(h.names, name)
		h.runtime[name] = h.nspawn
		sh(t, "btrfs", "-q", "subvolume", "snapshot", template, filepath.Join(h.dir, name))
		settings := filepath.Join("/run/systemd/nspawn", name+".nspawn")
		write(t, settings, "[Network]\nPrivate=yes\nVirtualEthernet=no\n")
		t.Cleanup(func() { os.Remove(settings) })
	}
	t.Cleanup(func() {
		h.all(func(g guest.Guest) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := h.runtime[g.Name].Stop(ctx, g); err != nil {
				t.Error(err)
			}
		})
	})
	return h
}

// addContainers adds n LXC containers with the same Debian.
func (h *guests) addContainers(prefix string, n int) {
	h.t.Helper()
	if _, err := exec.LookPath("lxc-start"); err != nil {
		h.t.Fatalf("this test boots containers: %v; install lxc", err)
	}
	runs := lxc.New(lxc.Config{Path: h.lxc, Dir: filepath.Join(filepath.Dir(h.dir), "log")})
	for i := range n {
		name := fmt.Sprintf("%s%02d", prefix, i+1)
		h.names = append(h.names, name)
		h.runtime[name] = runs
		check(h.t, os.Mkdir(filepath.Join(h.lxc, name), 0o711))
		root := h.root(name)
		sh(h.t, "btrfs", "-q", "subvolume", "snapshot", filepath.Join(h.dir, ".template"), root)
		write(h.t, filepath.Join(h.lxc, name, "config"), "lxc.include = /usr/share/lxc/config/common.conf\nlxc.uts.name = "+name+
			"\nlxc.rootfs.path = btrfs:"+root+"\nlxc.net.0.type = empty\nlxc.apparmor.profile = unconfined\n")
	}
}

// root is the directory that the guest is started from.
func (h *guests) root(name string) string {
	if r := h.runtime[name]; r != nil && r != h.nspawn {
		return filepath.Join(h.lxc, name, "rootfs")
	}
	return filepath.Join(h.dir, name)
}

// manyInotify lets root have more inotify instances than the kernel's 128, of
// which a machine's services take five or six: its systemd ends where it gets
// none.
func manyInotify(t *testing.T) {
	t.Helper()
	const setting, want = "/proc/sys/fs/inotify/max_user_instances", 1024
	was, err := strconv.Atoi(strings.TrimSpace(read(t, setting)))
	check(t, err)
	if was < want {
		check(t, os.WriteFile(setting, []byte(strconv.Itoa(want)), 0o644))
	}
}

// all calls do for every guest, for several at a time.
func (h *guests) all(do func(g guest.Guest)) {
	h.t.Helper()
	list := h.list()
	var wait sync.WaitGroup
	for _, g := range list {
		wait.Add(1)
		go func() { defer wait.Done(); do(g) }()
	}
	wait.Wait()
}

// list is what the runtimes say of the test's guests.
func (h *guests) list() (list []guest.Guest) {
	h.t.Helper()
	asked := map[guest.Runtime]bool{}
	for _, name := range h.names {
		r := h.runtime[name]
		if asked[r] {
			continue
		}
		asked[r] = true
		some, err := r.List(context.Background())
		check(h.t, err)
		for _, g := range some {
			if h.runtime[g.Name] == r {
				list = append(list, g)
			}
		}
	}
	return list
}

func (h *guests) guest(name string) guest.Guest {
	h.t.Helper()
	for _, g := range h.list() {
		if g.Name == name {
			return g
		}
	}
	h.t.Fatalf("there is no guest %s", name)
	return guest.Guest{}
}

// up starts what does not run and waits until all is up.
func (h *guests) up() {
	h.t.Helper()
	h.all(func(g guest.Guest) {
		if !g.Running {
			if err := h.runtime[g.Name].Start(context.Background(), g); err != nil {
				h.t.Error(err)
			}
		}
	})
	for _, name := range h.names {
		h.healthy(name)
	}
}

// healthy waits until the guest is.
func (h *guests) healthy(name string) {
	h.t.Helper()
	var last string
	for range 1200 {
		health, err := h.runtime[name].Health(context.Background(), guest.Guest{Name: name})
		if err == nil && health.Up {
			return
		}
		last = fmt.Sprint(health, err)
		time.Sleep(50 * time.Millisecond)
	}
	said, _ := os.ReadFile(filepath.Join(filepath.Dir(h.dir), "log", name+".nspawn"))
	h.t.Fatalf("%s is not up: %s; nspawn said %q", name, last, said)
}

func (h *guests) command(argv ...string) *exec.Cmd {
	cmd := exec.Command(h.beadm, argv...)
	cmd.Env = append(os.Environ(), "BEADM_CONFIG="+h.conf)
	return cmd
}

// run runs beadm, which must succeed.
func (h *guests) run(argv ...string) string {
	h.t.Helper()
	out, code := h.try(argv...)
	if code != 0 {
		h.t.Fatalf("beadm %s: exit %d:\n%s", strings.Join(argv, " "), code, out)
	}
	return out
}

func (h *guests) try(argv ...string) (out string, code int) {
	h.t.Helper()
	b, err := h.command(argv...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(b), code
}

// switched runs a batch and returns what came of each guest.
func (h *guests) switched(wantCode int, argv ...string) map[string]activate.Switched {
	h.t.Helper()
	cmd := h.command(append([]string{"--json"}, argv...)...)
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != wantCode {
		h.t.Fatalf("beadm %s: exit %d, not %d:\n%s%s", strings.Join(argv, " "), code, wantCode, out, words.String())
	}
	var said struct {
		Guests []activate.Switched `json:"guests"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		h.t.Fatalf("beadm %s: %v in %q", strings.Join(argv, " "), err, out)
	}
	of := map[string]activate.Switched{}
	for _, s := range said.Guests {
		of[s.Guest] = s
		h.t.Logf("%s: %s, runs %s, %.2f s down %s", s.Guest, s.Outcome, s.Runs, s.Seconds, s.Why)
	}
	return of
}

func (h *guests) file(name, path string) string {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.root(name), path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	return string(b)
}

// shared directories of a guest, wherever it runs.
func (h *guests) sharedFile(name, path string) string {
	h.t.Helper()
	return read(h.t, filepath.Join(h.share(name), path))
}

func (h *guests) share(name string) string {
	root := h.root(name)
	return filepath.Join(filepath.Dir(root), ".beadm", filepath.Base(root), "@varshare")
}

// nothingLost says that each line of the mail and of the log is there, once, and
// that more come.
func (h *guests) nothingLost(name string) {
	h.t.Helper()
	for _, path := range []string{"mail/alice", "log/app.log"} {
		lines := strings.Split(strings.TrimSpace(h.sharedFile(name, path)), "\n")
		for i, line := range lines {
			if _, n, _ := strings.Cut(line, " "); n != strconv.Itoa(i+1) {
				h.t.Errorf("%s: line %d of %s is %q", name, i+1, path, line)
				break
			}
		}
		for n := 0; ; n++ {
			if len(h.sharedFile(name, path)) > len(strings.Join(lines, "\n"))+1 {
				break
			}
			if n == 100 {
				h.t.Errorf("%s: nothing is written to %s any more", name, path)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// poll is a client of every guest: it asks for its mail all the time, and knows
// the longest that it saw no new one.
func (h *guests) poll() (worst func() (string, time.Duration)) {
	stop := make(chan struct{})
	type gap struct {
		name string
		time.Duration
	}
	gaps := make(chan gap, len(h.names))
	for _, name := range h.names {
		go func() {
			path := filepath.Join(h.share(name), "mail/alice")
			var size int64
			var longest time.Duration
			since := time.Now()
			for {
				if info, err := os.Stat(path); err == nil && info.Size() != size {
					longest = max(longest, time.Since(since))
					size, since = info.Size(), time.Now()
				}
				select {
				case <-stop:
					gaps <- gap{name, longest}
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}()
	}
	return func() (name string, longest time.Duration) {
		close(stop)
		for range h.names {
			if g := <-gaps; g.Duration > longest {
				name, longest = g.name, g.Duration
			}
		}
		return name, longest
	}
}

// Twenty machines and three containers with writers that never rest are upgraded, activated and
// rolled back; the two whose new root is bad fall back alone.
func TestTwentyGuests(t *testing.T) {
	h := newGuests(t, "gt", 20)
	h.addContainers("gtlxc", 3)
	h.up()
	h.run("guest", "init", "gt*")
	for _, name := range h.names {
		if to := h.runs(name); to != "@be-default" {
			t.Fatalf("%s is started from %s", name, to)
		}
		h.healthy(name)
	}
	if out, code := h.try("share", "-g", "gt*", "init"); code != 4 || !strings.Contains(out, "--stop-all") {
		t.Fatalf("the directories of guests that run were moved, or nobody said how: exit %d:\n%s", code, out)
	}
	h.run("share", "-g", "gt*", "init", "--stop-all")
	h.up()
	h.run("upgrade", "-g", "gt*", "new", "--", "sh", "-c", "echo patched >/etc/motd && useradd patched")
	const ill, dead = "gt07", "gt13"
	h.run("-g", ill, "run", "new", "--", "sh", "-c", `printf '[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/ill.service && systemctl -q enable ill.service`)
	h.run("-g", dead, "run", "new", "--", "sh", "-c", `rm /usr/lib/systemd/systemd && printf '#!/bin/sh\nexit 1\n' >/usr/lib/systemd/systemd && chmod 755 /usr/lib/systemd/systemd`)
	for _, name := range h.names {
		if h.file(name, "etc/motd") == "patched\n" || strings.Contains(h.file(name, "etc/passwd"), "patched") {
			t.Fatalf("%s was patched in place", name)
		}
	}
	// What its administrator does meanwhile comes along.
	write(t, filepath.Join(h.root(h.names[0]), "etc/sudoers.d/mine"), "# mine\n")

	worst := h.poll()
	of := h.switched(15, "activate", "-g", "gt*", "new", "--parallel", "4", "--canary", "gt01")
	for _, name := range h.names {
		s := of[name]
		switch name {
		case ill:
			if s.Outcome != activate.FellBack || s.Runs != "default" || !strings.Contains(s.Why, "ill.service") {
				t.Errorf("%s: %+v", name, s)
			}
		case dead:
			if s.Outcome != activate.FellBack || s.Runs != "default" {
				t.Errorf("%s: %+v", name, s)
			}
		default:
			if s.Outcome != activate.Confirmed || s.Runs != "new" {
				t.Errorf("%s: %+v", name, s)
			}
		}
		h.healthy(name)
		if patched := h.file(name, "etc/motd") == "patched\n"; patched != (name != ill && name != dead) {
			t.Errorf("%s is patched: %v", name, patched)
		}
		h.nothingLost(name)
	}
	if h.file(h.names[0], "etc/sudoers.d/mine") == "" {
		t.Error("what was written to sudoers.d meanwhile did not come along")
	}
	name, longest := worst()
	t.Logf("its client saw no new mail of %s for %.2f s", name, longest.Seconds())
	status := h.run("guest", "status")
	for _, want := range []string{ill, dead} {
		if !strings.Contains(status, want) || strings.Count(status, "failed") < 2 {
			t.Errorf("guest status does not say that %s failed:\n%s", want, status)
		}
	}

	of = h.switched(0, "rollback", "-g", "gt*", "--exclude", ill, "--exclude", dead, "--parallel", "4")
	for _, name := range h.names {
		if s := of[name]; name != ill && name != dead && (s.Outcome != activate.Returned || s.Runs != "default") {
			t.Errorf("%s: %+v", name, s)
		}
		h.healthy(name)
		if h.file(name, "etc/motd") == "patched\n" {
			t.Errorf("%s is patched after the rollback", name)
		}
		h.nothingLost(name)
	}
}

// A machine is adopted and given back while it runs, and is what it was.
func TestGuestIsAdoptedAndGivenBack(t *testing.T) {
	h := newGuests(t, "ga", 1)
	name := h.names[0]
	root := filepath.Join(h.dir, name)
	var before, after unix.Stat_t
	check(t, unix.Stat(root, &before))
	h.up()
	leader := h.guest(name).Leader
	write(t, filepath.Join(root, "root/kept"), "kept\n")
	if out, code := h.try("-g", name, "create", "new"); code != 10 || !strings.Contains(out, "beadm guest init "+name) {
		t.Errorf("exit %d: %s", code, out)
	}
	if out := h.run("guest", "init", name, "-n"); !strings.Contains(out, "would move "+root) {
		t.Errorf("the dry run says: %s", out)
	}
	h.run("guest", "init", name)
	h.run("guest", "init", name) // again
	if out := h.run("guest", "list"); !strings.Contains(out, "yes") || !strings.Contains(out, "default") {
		t.Errorf("guest list says:\n%s", out)
	}
	h.run("-g", name, "create", "new")
	if out, code := h.try("guest", "release", name); code != 4 || !strings.Contains(out, "--destroy") {
		t.Errorf("exit %d: %s", code, out)
	}
	h.run("guest", "release", name, "--destroy")
	check(t, unix.Lstat(root, &after))
	if after.Mode&unix.S_IFMT != unix.S_IFDIR || after.Ino != before.Ino || after.Dev != before.Dev {
		t.Errorf("its root is not the directory that it was: %+v, %+v", before, after)
	}
	if got := h.file(name, "root/kept"); got != "kept\n" {
		t.Errorf("what it wrote is %q", got)
	}
	if now := h.guest(name); !now.Running || now.Leader != leader {
		t.Errorf("it did not go on: %+v, it was %d", now, leader)
	}
	if _, err := os.Lstat(filepath.Join(h.dir, ".beadm")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	h.run("guest", "init", name, "--name", "again")
	if out := h.run("-g", name, "list"); !strings.Contains(out, "again") {
		t.Errorf("list says:\n%s", out)
	}
}

// beadm is killed at any moment of a batch. recover leaves each guest running,
// healthy, in the old one or in the new, and nothing is lost.
func TestGuestBatchIsKilled(t *testing.T) {
	h := newGuests(t, "gk", 2)
	h.up()
	h.run("guest", "init", "gk*")
	h.run("share", "-g", "gk*", "init", "--stop-all")
	h.up()
	h.run("-g", "gk*", "create", "new")
	for i, after := range []time.Duration{20, 150, 300, 450, 600, 800, 1100, 1500, 2200, 3000} {
		next := "new"
		if h.guest(h.names[0]); strings.Contains(h.run("-g", h.names[0], "list", "-H"), "new;") && h.runs(h.names[0]) == "@be-new" {
			next = "default"
		}
		cmd := h.command("activate", "-g", "gk*", next)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		check(t, cmd.Start())
		time.Sleep(after * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		h.run("-g", "gk*", "recover")
		h.run("-g", "gk*", "recover")
		for _, name := range h.names {
			g := h.guest(name)
			if !g.Running {
				t.Fatalf("killed after %d ms (%d): %s is down", after, i, name)
			}
			h.healthy(name)
			h.nothingLost(name)
			status := h.run("-g", name, "--json", "status")
			for _, bad := range []string{`"state": "armed"`, `"state": "trying"`, "open_operation"} {
				if strings.Contains(status, bad) {
					t.Fatalf("killed after %d ms: %s is not at rest:\n%s", after, name, status)
				}
			}
			h.run("-g", name, "status", "--acknowledge")
		}
	}
}

// runs is the directory that the guest is started from.
func (h *guests) runs(name string) string {
	h.t.Helper()
	to, err := os.Readlink(h.root(name))
	check(h.t, err)
	return filepath.Base(to)
}

// Ctrl-C: the guest in hand is finished, the rest is left as it was.
func TestGuestBatchIsInterrupted(t *testing.T) {
	h := newGuests(t, "gi", 3)
	h.up()
	h.run("guest", "init", "gi*")
	h.run("-g", "gi*", "create", "new")
	cmd := h.command("activate", "-g", "gi*", "--leave-behind", "new")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	check(t, cmd.Start())
	// The first one is exchanged: it is in hand.
	for n := 0; h.runs("gi01") != "@be-new"; n++ {
		if n == 1000 {
			t.Fatalf("gi01 is never exchanged:\n%s", said.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	check(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d:\n%s", code, said.String())
	}
	for i, name := range h.names {
		want := "@be-default"
		if i == 0 {
			want = "@be-new"
		}
		h.healthy(name)
		if got := h.runs(name); got != want {
			t.Errorf("%s runs %s:\n%s", name, got, said.String())
		}
		if status := h.run("-g", name, "--json", "status"); strings.Contains(status, "armed") || strings.Contains(status, "trying") {
			t.Errorf("%s is not at rest:\n%s", name, status)
		}
	}
	if !strings.Contains(said.String(), "gi02 not begun") || !strings.Contains(said.String(), "gi01 confirmed") {
		t.Errorf("it said:\n%s", said.String())
	}
}

// A guest that was left unconfirmed when the host went down starts its old root
// when the host boots.
func TestUnconfirmedGuestReturnsAsTheHostBoots(t *testing.T) {
	h := newGuests(t, "gu", 1)
	name := h.names[0]
	h.up()
	h.run("guest", "init", name)
	h.run("share", "-g", name, "init", "--stop-all")
	h.up()
	h.run("-g", name, "create", "new")
	of := h.switched(0, "activate", "-g", name, "--no-auto-confirm", "new")
	if s := of[name]; s.Outcome != activate.OnTrial || s.Runs != "new" {
		t.Fatalf("%+v", s)
	}
	// The host goes down: the machine is gone, and what was mounted.
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	check(t, h.runtime[name].Stop(ctx, h.guest(name)))
	sh(t, "umount", filepath.Join(h.dir, ".beadm", name, "@be-new/var/share"))
	h.run("guest", "boot")
	if got := h.runs(name); got != "@be-default" {
		t.Fatalf("it would start %s", got)
	}
	h.up()
	h.nothingLost(name)
	if out := h.run("guest", "status"); !strings.Contains(out, "failed") {
		t.Errorf("guest status says:\n%s", out)
	}
	h.run("-g", name, "status", "--acknowledge")
	h.run("guest", "boot") // of what runs
	h.healthy(name)
}

// A package manager works in a root that does not run, as in the guest itself:
// what it puts into shared directories arrives with the switch.
func TestGuestIsUpgradedByItsPackageManager(t *testing.T) {
	h := newGuests(t, "gp", 1)
	name := h.names[0]
	h.up()
	h.run("guest", "init", name)
	h.run("share", "-g", name, "init", "--stop-all")
	h.up()
	h.run("-g", name, "upgrade", "new", "--", "sh", "-c", "apt-get install -y -qq /usr/share/demo/*.deb")
	spool := filepath.Join(h.share(name), "spool/postfix")
	if _, err := os.Stat(spool); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the spool of the package is there before the switch: %v", err)
	}
	if s := h.switched(0, "-g", name, "activate", "new")[name]; s.Outcome != activate.Confirmed {
		t.Fatalf("%+v", s)
	}
	if pid := strings.TrimSpace(read(t, filepath.Join(spool, "pid/master.pid"))); pid == "" {
		t.Error("postfix does not run in the new root")
	}
	h.nothingLost(name)
}
