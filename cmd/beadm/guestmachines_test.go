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
	"testing"
	"time"

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
