//go:build linux

package share

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// A process that dies: TestMain of a child runs one operation and kills itself
// at effect N.
func TestMain(m *testing.M) {
	patience = 3 * time.Second
	if spec := os.Getenv("SHARE_TEST_DIE"); spec != "" {
		dieAt(spec)
	}
	os.Exit(m.Run())
}

func dieAt(spec string) {
	f := strings.SplitN(spec, ":", 4) // op, effect number, record file, root
	n, _ := strconv.Atoi(f[1])
	i := 0
	onEffect = func(what string) {
		if i++; i == n && f[0] != "deliver" {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	if os.Getenv("SHARE_TEST_NOEXCHANGE") != "" {
		noExchange = true
	}
	o := Options{Root: f[3], BE: "this", OS: "linux", Record: toFile(f[2]), Paths: strings.Fields(os.Getenv("SHARE_TEST_PATHS"))}
	var err error
	switch f[0] {
	case "init":
		_, err = Init(context.Background(), o)
	case "undo":
		_, err = Undo(context.Background(), o)
	case "adopt":
		_, err = Adopt(context.Background(), o.Root, os.Getenv("SHARE_TEST_LIVE"), "linux", time.Time{})
	case "restore":
		_, err = Restore(context.Background(), RestoreOptions{Snap: f[2], Live: o.Root, Paths: []string{"mail", "spool"}, Aside: "then"})
	case "deliver":
		err = deliver(o.Root, n)
	case "arrive":
		_, err = Arrive(context.Background(), o.Root, os.Getenv("SHARE_TEST_LIVE"), time.Unix(1e9, 0))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func toFile(file string) Recorder {
	return func(_ string, state []byte) error { return os.WriteFile(file, state, 0o600) }
}

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: giving files to others takes root")
	}
}

func sh(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("bash", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

const aSystem = `
mkdir -p var/share var/lib/dpkg var/spool/cron etc; mkdir -m 2775 var/mail; chown 0:8 var/mail; mkdir -m 1777 var/tmp; mkdir -m 755 var/log
printf 'From a\n' > var/mail/alice; chown 33:8 var/mail/alice; chmod 660 var/mail/alice
ln -s ../mail var/spool/mail; ln -s cron var/spool/inside; ln -s ../../etc var/log/etc; ln -s /var/log/syslog var/log/abs
printf 'line\n' > var/log/syslog; ln var/log/syslog var/log/syslog.hard; printf x > var/spool/cron/root; chmod 600 var/spool/cron/root
mkfifo var/spool/fifo; printf t > var/tmp/t; setfattr -n trusted.q -v 1 var/tmp/t; touch -d '2001-01-01 01:01:01.000000001' var/log/syslog
printf shadow > etc/shadow
`

// system is a root with a shared dataset mounted in it.
func system(t *testing.T) string {
	t.Helper()
	asRoot(t)
	top := t.TempDir()
	root, vol := top+"/root", top+"/volume"
	os.Mkdir(root, 0o755)
	os.Mkdir(vol, 0o755)
	sh(t, root, aSystem)
	if err := unix.Mount(vol, root+"/var/share", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root+"/var/share", unix.MNT_DETACH) })
	return root
}

// onBtrfs is a system on a btrfs: a subvolume, and one for the shared dataset.
func onBtrfs(t *testing.T) string {
	t.Helper()
	asRoot(t)
	top := t.TempDir()
	image := top + "/btrfs.img"
	sh(t, top, "truncate -s 1G btrfs.img; mkfs.btrfs -q btrfs.img >/dev/null; mkdir top root")
	out, err := exec.Command("losetup", "-f", "--show", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "-d", device).Run() })
	mount := func(at, options string) {
		t.Helper()
		if err := unix.Mount(device, at, "btrfs", 0, options); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	}
	root := top + "/root"
	mount(top+"/top", "subvolid=5")
	sh(t, top+"/top", "btrfs -q subvolume create @system; btrfs -q subvolume create @varshare")
	mount(root, "subvol=@system")
	sh(t, root, aSystem)
	mount(root+"/var/share", "subvol=@varshare")
	return root
}

// seen lists what a program finds at the profile's paths, following links.
func seen(t *testing.T, root string) string {
	t.Helper()
	return seenAt(t, root, Profile("linux"))
}

// asNamed is a path in the shared dataset as the boot environment names it.
func asNamed(p string) string {
	rest, ok := strings.CutPrefix(p, "/var/share/")
	name, below, deeper := strings.Cut(rest, "/")
	if at, known := PathOf(name); ok && known {
		if p = at; deeper {
			p += "/" + below
		}
	}
	return p
}

func seenAt(t *testing.T, root string, paths []string) string {
	t.Helper()
	var b strings.Builder
	for _, p := range paths {
		top, err := filepath.EvalSymlinks(root + p)
		if err != nil {
			fmt.Fprintf(&b, "%s: absent\n", p)
			continue
		}
		filepath.WalkDir(top, func(at string, d os.DirEntry, err error) error {
			if err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			unix.Lstat(at, &st)
			fmt.Fprintf(&b, "%s%s mode=%o %d:%d mtime=%d.%d", p, strings.TrimPrefix(at, top), st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
			switch {
			case d.Type().IsRegular():
				data, _ := os.ReadFile(at)
				fmt.Fprintf(&b, " nlink=%d %q", st.Nlink, data)
			case d.Type()&os.ModeSymlink != 0:
				to, err := filepath.EvalSymlinks(at)
				if err == nil { // where it leads, not how it says it
					to = asNamed(strings.TrimPrefix(to, root))
				}
				fmt.Fprintf(&b, " -> %s", to)
			}
			b.WriteByte('\n')
			return nil
		})
	}
	return b.String()
}

func state(t *testing.T, root string) map[string]State {
	t.Helper()
	list, err := Status(context.Background(), root, Profile("linux"))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]State{}
	for _, p := range list {
		m[p.Path] = p.State
	}
	return m
}

func TestInitAndUndo(t *testing.T) {
	root := system(t)
	before := seen(t, root)
	ctx := context.Background()
	res, err := Init(ctx, Options{Root: root, OS: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "/var/log /var/mail /var/spool /var/tmp"; strings.Join(res.Moved, " ") != want {
		t.Errorf("moved %q", res.Moved)
	}
	if got := seen(t, root); got != before {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
	if to, _ := os.Readlink(root + "/var/mail"); to != "share/mail" {
		t.Errorf("the link says %q", to)
	}
	if to, _ := os.Readlink(root + "/var/share/spool/mail"); to != "../../mail" {
		t.Errorf("the inner link says %q", to)
	}
	if data, _ := os.ReadFile(root + "/var/.beadm-old/mail/alice"); string(data) != "From a\n" {
		t.Errorf("the old tree holds %q", data)
	}
	if res, err := Init(ctx, Options{Root: root, OS: "linux"}); err != nil || len(res.Moved) != 0 {
		t.Errorf("again: %+v %v", res, err)
	}
	if res, err = Undo(ctx, Options{Root: root, OS: "linux"}); err != nil {
		t.Fatal(err)
	}
	if got := seen(t, root); got != before {
		t.Errorf("undone: got\n%s\nwant\n%s", got, before)
	}
	for p, s := range state(t, root) {
		if s != Real && s != Absent {
			t.Errorf("%s is %s", p, s)
		}
	}
	if err := Commit(ctx, root, root+"/var/share"); err != nil {
		t.Fatal(err)
	}
	if got, _ := exec.Command("find", root+"/var", "-name", ".*", "-mindepth", "1", "!", "-name", ".beadm-back").Output(); len(got) > 0 {
		t.Errorf("left: %s", got)
	}
	if res, err = Init(ctx, Options{Root: root, OS: "linux"}); err != nil || len(res.Moved) != 4 {
		t.Fatalf("%+v %v", res, err)
	}
}

func TestDieAnywhere(t *testing.T) {
	for _, op := range []string{"init", "undo"} {
		for _, without := range []string{"", "1"} {
			t.Run(op+without, func(t *testing.T) {
				for n := 1; ; n++ {
					root := system(t)
					if op == "undo" {
						if _, err := Init(context.Background(), Options{Root: root, OS: "linux"}); err != nil {
							t.Fatal(err)
						}
					}
					before := seen(t, root)
					rec := t.TempDir() + "/record"
					cmd := exec.Command(os.Args[0])
					cmd.Env = append(os.Environ(), fmt.Sprintf("SHARE_TEST_DIE=%s:%d:%s:%s", op, n, rec, root), "SHARE_TEST_NOEXCHANGE="+without)
					out, err := cmd.CombinedOutput()
					killed := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
					if err != nil && !killed {
						t.Fatalf("%v: %s", err, out)
					}
					data, rerr := os.ReadFile(rec)
					if rerr == nil {
						for range 2 {
							if _, err := Recover(context.Background(), root, "this", data, nil); err != nil {
								t.Fatalf("after %d: %v", n, err)
							}
						}
					}
					if got := seen(t, root); got != before {
						t.Fatalf("after %d %s: got\n%s\nwant\n%s", n, data, got, before)
					}
					s := state(t, root)
					for _, p := range []string{"/var/mail", "/var/log", "/var/spool", "/var/tmp"} {
						if s[p] != Real && s[p] != Linked {
							t.Fatalf("after %d: %s is %s", n, p, s[p])
						}
					}
					// And it can be done again from there.
					again := Init
					want := Linked
					if op == "undo" {
						again, want = Undo, Real
					}
					if _, err := again(context.Background(), Options{Root: root, OS: "linux"}); err != nil {
						t.Fatalf("again after %d: %v", n, err)
					}
					if got := seen(t, root); got != before {
						t.Fatalf("again after %d: got\n%s\nwant\n%s", n, got, before)
					}
					if got := state(t, root)["/var/mail"]; got != want {
						t.Fatalf("again after %d: /var/mail is %s", n, got)
					}
					unix.Unmount(root+"/var/share", unix.MNT_DETACH)
					if !killed {
						if n < 10 {
							t.Fatalf("only %d effects", n)
						}
						t.Logf("%d effects", n-1)
						return
					}
				}
			})
		}
	}
}

// processes are Units made of real processes of the test.
type processes struct {
	t     *testing.T
	start map[string]func() *exec.Cmd
	run   map[string]*exec.Cmd
	stops int
}

func (u *processes) Of(pid int) (string, error) {
	for name, cmd := range u.run {
		if pgid, err := unix.Getpgid(pid); err == nil && pgid == cmd.Process.Pid {
			return name, nil
		}
	}
	return "", nil
}

func (u *processes) With(_ context.Context, units, _ []string) ([]string, error) {
	sort.Strings(units)
	return units, nil
}

func (u *processes) Stop(_ context.Context, units []string) error {
	u.stops++
	for _, name := range units {
		if cmd := u.run[name]; cmd != nil {
			unix.Kill(-cmd.Process.Pid, unix.SIGTERM)
			cmd.Wait()
			// The group may outlive its leader for a moment.
			for unix.Kill(-cmd.Process.Pid, 0) == nil {
				time.Sleep(time.Millisecond)
			}
			delete(u.run, name)
		}
	}
	return nil
}

func (u *processes) Start(_ context.Context, units []string) error {
	for _, name := range units {
		if u.run[name] != nil || u.start[name] == nil {
			continue
		}
		cmd := u.start[name]()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		u.run[name] = cmd
	}
	return nil
}

func (u *processes) Release(context.Context, []string) (bool, error) { return false, nil }
func (u *processes) Resume(context.Context) error                    { return nil }

// writer appends numbered lines to one file that it keeps open, renames over
// another, and creates and deletes files; what it has done it counts outside.
const writer = `
import os, sys, time, signal
dir, count = sys.argv[1], sys.argv[2]
stop = []
signal.signal(signal.SIGTERM, lambda *a: stop.append(1))
n = int(open(count).read() or 0) if os.path.exists(count) else 0
f = open(dir + "/log", "a")
while not stop:
    n += 1
    f.write("%d\n" % n); f.flush()
    open(dir + "/tmp", "w").write("%d" % n); os.rename(dir + "/tmp", dir + "/last")
    open(dir + "/msg%d" % n, "w").write("%d" % n)
    if n > 20: os.unlink(dir + "/msg%d" % (n - 20))
    if n % 50 == 0: os.makedirs(dir + "/d%d" % n); os.rename(dir + "/msg%d" % n, dir + "/d%d/m" % n); open(dir + "/msg%d" % n, "w").write("%d" % n)
    time.sleep(0.0005)
f.close()
open(count + ".new", "w").write(str(n)); os.rename(count + ".new", count)
`

func writers(t *testing.T, root string) (*processes, func()) {
	u := &processes{t: t, start: map[string]func() *exec.Cmd{}, run: map[string]*exec.Cmd{}}
	out := t.TempDir()
	os.WriteFile(out+"/writer.py", []byte(writer), 0o644)
	var names []string
	for _, d := range []string{"mail", "log", "spool", "tmp"} {
		name := d + ".service"
		names = append(names, name)
		u.start[name] = func() *exec.Cmd {
			cmd := exec.Command("python3", out+"/writer.py", root+"/var/"+d, out+"/"+d)
			cmd.Stderr = os.Stderr
			return cmd
		}
	}
	u.Start(context.Background(), names)
	t.Cleanup(func() { u.Stop(context.Background(), names) })
	for _, d := range []string{"mail", "log", "spool", "tmp"} {
		for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if last, err := os.ReadFile(root + "/var/" + d + "/last"); err == nil && len(last) > 1 { // ten lines or more
				break
			}
			if time.Now().After(end) {
				t.Fatalf("nothing writes to %s", d)
			}
		}
	}
	check := func() {
		t.Helper()
		u.Stop(context.Background(), names)
		for _, d := range []string{"mail", "log", "spool", "tmp"} {
			count, err := os.ReadFile(out + "/" + d)
			if err != nil {
				t.Fatal(err)
			}
			n, _ := strconv.Atoi(string(count))
			var want bytes.Buffer
			for i := 1; i <= n; i++ {
				fmt.Fprintf(&want, "%d\n", i)
			}
			if n < 100 {
				t.Errorf("%s: the writer wrote %d lines only", d, n)
			}
			dir := root + "/var/" + d
			if got, _ := os.ReadFile(dir + "/log"); !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%s: of %d lines %d are there", d, n, bytes.Count(got, []byte("\n")))
			}
			if got, _ := os.ReadFile(dir + "/last"); string(got) != string(count) {
				t.Errorf("%s: last is %s, want %s", d, got, count)
			}
			msgs, _ := filepath.Glob(dir + "/msg*")
			if len(msgs) != 20 {
				t.Errorf("%s: %d messages, want 20", d, len(msgs))
			}
			if dirs, _ := filepath.Glob(dir + "/d*/m"); len(dirs) != n/50 {
				t.Errorf("%s: %d directories, want %d", d, len(dirs), n/50)
			}
		}
	}
	return u, check
}

// busy waits until every writer has written a hundred lines more, however
// slow this machine is at the moment.
func busy(t *testing.T, root string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for _, d := range []string{"mail", "log", "spool", "tmp"} {
		lines := func() int {
			b, _ := os.ReadFile(root + "/var/" + d + "/log")
			return bytes.Count(b, []byte("\n"))
		}
		for until := lines() + 100; lines() < until; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: its writer does not write", d)
			}
		}
	}
}

func TestWritersLoseNothing(t *testing.T) {
	t.Run("here", func(t *testing.T) { writersLoseNothing(t, system(t)) })
	t.Run("btrfs", func(t *testing.T) { writersLoseNothing(t, onBtrfs(t)) })
}

func writersLoseNothing(t *testing.T, root string) {
	u, check := writers(t, root)
	busy(t, root)
	ctx := context.Background()

	_, err := Init(ctx, Options{Root: root, OS: "linux", Units: u})
	if be.KindOf(err) != be.InUse {
		t.Fatalf("without leave to stop: %v", err)
	}
	for _, want := range []string{"mail.service", "python3", "/var/spool"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the refusal does not name %s: %v", want, err)
		}
	}
	if u.stops != 0 || state(t, root)["/var/mail"] != Real {
		t.Fatal("it stopped or moved something")
	}
	if _, err = Init(ctx, Options{Root: root, OS: "linux", Units: u, Stop: []string{"mail"}}); be.KindOf(err) != be.InUse {
		t.Fatalf("with leave to stop one: %v", err)
	}
	res, err := Init(ctx, Options{Root: root, OS: "linux", Units: u, StopAll: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Stopped) != 4 || len(u.run) != 4 {
		t.Errorf("stopped %q, running %d", res.Stopped, len(u.run))
	}
	for _, d := range []string{"mail", "log", "spool", "tmp"} {
		if got := state(t, root)["/var/"+d]; got != Linked {
			t.Errorf("%s is %s", d, got)
		}
	}
	busy(t, root)
	check()
	u.Start(ctx, []string{"mail.service", "log.service", "spool.service", "tmp.service"})
	busy(t, root)
	if err := Commit(ctx, root, root+"/var/share"); err != nil {
		t.Fatal(err)
	}
	if _, err := Undo(ctx, Options{Root: root, OS: "linux", Units: u, StopAll: true}); err != nil {
		t.Fatal(err)
	}
	busy(t, root)
	check()
}

func TestUnitsComeBackAfterCancelAndFailure(t *testing.T) {
	root := system(t)
	u, check := writers(t, root)
	busy(t, root)
	ctx, cancel := context.WithCancel(context.Background())
	onEffect = func(what string) {
		if strings.HasPrefix(what, "copy the rest") {
			cancel()
		}
	}
	defer func() { onEffect = nil }()
	var last []byte
	o := Options{Root: root, OS: "linux", Units: u, StopAll: true, Record: func(_ string, s []byte) error { last = s; return nil }}
	if _, err := Init(ctx, o); err == nil || u.stops != 1 || len(u.run) != 4 {
		t.Fatalf("%v, stops %d, running %d", err, u.stops, len(u.run))
	}
	var r record
	if json.Unmarshal(last, &r); r.Phase != done {
		t.Errorf("the record says %s", last)
	}
	if s := state(t, root)["/var/mail"]; s != Real {
		t.Errorf("/var/mail is %s", s)
	}
	if left, _ := os.ReadDir(root + "/var/share"); len(left) != 0 {
		t.Errorf("left in the share: %v", left)
	}
	busy(t, root)
	check()
}

// A process of no unit blocks and is named: a shell that stands there.
func TestAShellBlocks(t *testing.T) {
	root := system(t)
	cmd := exec.Command("sleep", "60")
	cmd.Dir = root + "/var/tmp"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	u := &processes{t: t, run: map[string]*exec.Cmd{}}
	_, err := Init(context.Background(), Options{Root: root, OS: "linux", Units: u, StopAll: true})
	if be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), fmt.Sprintf("sleep (pid %d)", cmd.Process.Pid)) {
		t.Fatal(err)
	}
	if s := state(t, root)["/var/tmp"]; s != Real {
		t.Error(s)
	}
}

// What is written into the old tree after the last pass comes over.
func TestLatecomers(t *testing.T) {
	root := system(t)
	f, err := os.OpenFile(root+"/var/log/syslog", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	lastlog := root + "/var/log/lastlog"
	os.WriteFile(lastlog, []byte("aaaa"), 0o644)
	onEffect = func(what string) {
		if what == "sync root" {
			f.WriteString("late\n")
			f.Close()
			os.WriteFile(root+"/var/.beadm-old/log/fresh", []byte("new"), 0o600)
			g, _ := os.OpenFile(root+"/var/.beadm-old/log/lastlog", os.O_WRONLY, 0)
			g.WriteString("bbbb")
			g.Close()
		}
	}
	defer func() { onEffect = nil }()
	res, err := Init(context.Background(), Options{Root: root, OS: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"syslog": "line\nlate\n", "fresh": "new", "lastlog": "aaaa", "lastlog.beadm-late": "bbbb"} {
		if got, _ := os.ReadFile(root + "/var/share/log/" + file); string(got) != want {
			t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}
	if len(res.Late) != 1 {
		t.Errorf("%q", res.Late)
	}
}
