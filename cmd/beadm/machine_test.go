//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"beadm/activate"
)

// The tests in this package run the real program on a real btrfs.

var built struct {
	sync.Once
	dir, file string
	err       error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// program is beadm, built once and executable by anybody.
func program(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "beadm-test-"); built.err != nil {
			return
		}
		if built.err = os.Chmod(built.dir, 0o755); built.err != nil {
			return
		}
		built.file = filepath.Join(built.dir, "beadm")
		cmd := exec.Command("go", "build", "-trimpath", "-o", built.file, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatalf("cannot build beadm: %v", built.err)
	}
	return built.file
}

func needBtrfs(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting a btrfs takes root")
	}
	b, err := os.ReadFile("/proc/filesystems")
	check(t, err)
	if !bytes.Contains(b, []byte("\tbtrfs\n")) {
		if out, err := exec.Command("modprobe", "btrfs").CombinedOutput(); err != nil {
			t.Skipf("NOT RUN: this kernel has no btrfs: %v: %s", err, out)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sh(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	return string(b)
}

// machine is a small system on a btrfs of its own, with the stub for a loader.
type machine struct {
	t      *testing.T
	beadm  string
	image  string // of its disk
	device string
	fsid   string
	top    string // its top level
	root   string // where the root that runs is mounted
	loader string
	boots  string // the subvolume that is mounted at root
	apart  string // device of an ext4 for /boot, which the root's fstab mounts
	// sums of what was read already. Nobody can set a file's ctime back.
	sums map[[4]int64][sha256.Size]byte
}

const shadow = `root:*:19000:0:99999:7:::
daemon:*:19000:0:99999:7:::
alice:$6$s$alice:19000:0:99999:7:::
bob:$6$s$bob:19000:0:99999:7:::
carol:$6$s$carol:19000:0:99999:7:::
dave:$6$s$dave:19000:0:99999:7:::
`

// newBareMachine is one on which beadm was never set up.
func newBareMachine(t *testing.T) *machine {
	t.Helper()
	needBtrfs(t)
	t.Parallel() // each has a file system of its own
	return bareMachine(t, 384<<20)
}

// bareMachine is newBareMachine with a disk of that many bytes, by itself.
func bareMachine(t *testing.T, size int64) *machine {
	t.Helper()
	m := emptyMachine(t, size)
	sh(t, "btrfs", "-q", "subvolume", "create", filepath.Join(m.top, "@debian"))
	m.mountRoot("@debian")
	m.fill()
	return m
}

// emptyMachine has nothing on its disk.
func emptyMachine(t *testing.T, size int64) *machine {
	t.Helper()
	m := &machine{t: t, sums: map[[4]int64][sha256.Size]byte{}, beadm: program(t), top: t.TempDir(), root: t.TempDir(), loader: filepath.Join(t.TempDir(), "loader")}
	check(t, os.Mkdir(m.loader, 0o755))
	dir := diskDir(t)
	if size > 1<<30 {
		dir = t.TempDir() // what is measured there waits for a disk
	}
	img := filepath.Join(dir, "btrfs.img")
	f, err := os.Create(img)
	check(t, err)
	check(t, f.Truncate(size))
	check(t, f.Close())
	uuid, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	check(t, err)
	m.fsid = strings.TrimSpace(string(uuid))
	sh(t, "mkfs.btrfs", "-q", "-U", m.fsid, img)
	m.image = img
	m.device = strings.TrimSpace(sh(t, "losetup", "-f", "--show", img))
	t.Cleanup(func() { exec.Command("losetup", "-d", m.device).Run() })
	t.Cleanup(m.clear)
	check(t, unix.Mount(m.device, m.top, "btrfs", 0, "subvolid=5"))
	return m
}

// fill makes a small system of what is at the machine's root.
func (m *machine) fill() {
	t := m.t
	t.Helper()
	for path, text := range map[string]string{
		"etc/hostname": "machine\n",
		"etc/fstab":    "UUID=" + m.fsid + " / btrfs rw,noatime,subvol=/@debian 0 0\n",
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/usr/sbin/nologin\n" +
			"alice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n" +
			"carol:x:1002:1002::/home/carol:/bin/sh\ndave:x:1003:1003::/home/dave:/bin/sh\n",
		"etc/group":        "root:x:0:\ndaemon:x:1:\nmail:x:8:\nalice:x:1000:\nbob:x:1001:\ncarol:x:1002:\ndave:x:1003:\n",
		"usr/lib/os":       "1\n",
		"var/mail/alice":   "first mail\n",
		"var/log/messages": "first line\n",
		"var/spool/x":      "job\n",
	} {
		write(t, filepath.Join(m.root, path), text)
	}
	for path, text := range map[string]string{
		"etc/shadow":  shadow,
		"etc/gshadow": "root:*::\ndaemon:*::\nmail:*::\nalice:!::\nbob:!::\ncarol:!::\ndave:!::\n",
	} {
		check(t, os.WriteFile(filepath.Join(m.root, path), []byte(text), 0o640))
	}
	for _, dir := range []string{"sbin", "bin", "var/tmp", "var/lib", "proc", "sys", "dev", "run", "tmp", "root"} {
		check(t, os.MkdirAll(filepath.Join(m.root, dir), 0o755))
	}
	check(t, os.WriteFile(filepath.Join(m.root, "sbin/init"), []byte("#!/bin/sh\n"), 0o755))
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := newBareMachine(t)
	m.ok("setup", "--loader", "stub", "--loader-dir", m.loader)
	return m
}

func (m *machine) mountRoot(subvol string) {
	m.t.Helper()
	if m.fsid == "" { // of directories
		check(m.t, unix.Mount(filepath.Join(m.top, subvol), m.root, "", unix.MS_BIND, ""))
	} else {
		check(m.t, unix.Mount(m.device, m.root, "btrfs", 0, "subvol="+subvol))
	}
	m.boots = subvol
	if m.apart != "" {
		m.mountApart()
	}
}

// clear takes away all mounts of the device, also what a failed test left.
func (m *machine) clear() {
	guids, _ := filepath.Glob(filepath.Join(m.top, "@beadm/*"))
	ofDirs, _ := filepath.Glob(filepath.Join(m.top, "*/.beadm/*"))
	guids = append(guids, ofDirs...)
	for range 3 {
		mounts := m.mounts()
		slices.Reverse(mounts)
		for _, at := range mounts {
			unix.Unmount(at, unix.MNT_DETACH)
		}
	}
	for _, guid := range guids {
		for _, pattern := range []string{"*/*", "*", "."} {
			ours, _ := filepath.Glob(filepath.Join("/run/beadm", filepath.Base(guid), pattern))
			for _, path := range ours {
				os.Remove(path) // never what is in a directory
			}
		}
	}
}

// mounts are the mount points of our device, oldest first. Others may work on
// this host at the same time: their mounts are none of ours.
func (m *machine) mounts() []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	check(m.t, err)
	var at []string
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		if f := strings.Fields(after); len(f) > 1 && (f[1] == m.device || m.apart != "" && f[1] == m.apart) {
			at = append(at, strings.Fields(before)[4])
		}
	}
	return at
}

type result struct {
	args     []string
	code     int
	out, err string
}

func (r result) String() string {
	return fmt.Sprintf("beadm %q: exit %d\nstdout: %s\nstderr: %s", r.args, r.code, r.out, r.err)
}

// start runs the program without a look at what it leaves mounted.
func start(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// Nothing of the caller's may choose another store.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := result{cmd.Args[1:], cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	if slices.Contains(r.args, "--json") && r.out != "" {
		asPublished(t, r)
	}
	return r
}

// run runs a command on the machine. Of our own mounts none is left after it.
func (m *machine) run(args ...string) result {
	m.t.Helper()
	r := start(m.t, exec.Command(m.beadm, append([]string{"--root", m.root}, args...)...))
	m.noneOfOurs(r)
	return r
}

func (m *machine) noneOfOurs(r result) {
	m.t.Helper()
	for _, at := range m.mounts() {
		// What `beadm mount` mounts is the user's.
		if strings.HasPrefix(at, "/run/beadm/") && !strings.Contains(at, "/be/") {
			m.t.Errorf("%s is still mounted after %v", at, r)
		}
	}
}

func (m *machine) ok(args ...string) string {
	m.t.Helper()
	r := m.run(args...)
	if r.code != 0 {
		m.t.Fatal(r)
	}
	return r.out
}

func (m *machine) status() activate.Status {
	m.t.Helper()
	var st activate.Status
	if err := json.Unmarshal([]byte(m.ok("--json", "status")), &st); err != nil {
		m.t.Fatal(err)
	}
	return st
}

// snapshotWorld lists all that there is: every subvolume with the state among
// them, and the loader's directory. What a lock file says is nobody's loss.
func (m *machine) snapshotWorld() string {
	m.t.Helper()
	check(m.t, unix.Access(m.top, unix.R_OK))
	var b strings.Builder
	for _, dir := range []string{m.top, m.loader} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(dir, path)
			info, err := d.Info()
			if err != nil {
				return err
			}
			st := info.Sys().(*syscall.Stat_t)
			fmt.Fprintf(&b, "%s/%s %v %d:%d", filepath.Base(dir), rel, info.Mode(), st.Uid, st.Gid)
			switch {
			case info.Mode()&fs.ModeSymlink != 0:
				to, err := os.Readlink(path)
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, " -> %s", to)
			case info.Mode().IsRegular() && d.Name() != "lock":
				key := [4]int64{int64(st.Dev), int64(st.Ino), st.Ctim.Nano(), st.Size}
				if _, ok := m.sums[key]; !ok {
					data, err := os.ReadFile(path)
					if err != nil {
						return err
					}
					m.sums[key] = sha256.Sum256(data)
				}
				fmt.Fprintf(&b, " %d %x", st.Size, m.sums[key])
			}
			b.WriteByte('\n')
			return nil
		})
		check(m.t, err)
	}
	return b.String()
}

// differ says which lines are in one listing only.
func differ(before, after string) string {
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	var out []string
	for _, l := range was {
		if !slices.Contains(is, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range is {
		if !slices.Contains(was, l) {
			out = append(out, "+ "+l)
		}
	}
	return strings.Join(out, "\n")
}

// refused: the exit code, one sentence on standard error that says says,
// nothing on standard output, and nothing changed or mounted. A dry run is
// refused the same.
func (m *machine) refused(code int, says string, args ...string) {
	m.t.Helper()
	cmds := []*exec.Cmd{exec.Command(m.beadm, append([]string{"--root", m.root}, args...)...)}
	if dry := dryRunOf(args); dry != nil {
		cmds = append(cmds, exec.Command(m.beadm, append([]string{"--root", m.root}, dry...)...))
	}
	m.refusedCmd(code, says, cmds...)
}

// dryRunOf is a command with -n, or nil if it has that already or knows none.
func dryRunOf(args []string) []string {
	at := slices.Index(args, "--")
	if at < 0 {
		at = len(args)
	}
	if slices.Contains(args, "-n") {
		return nil
	}
	cmds, known := commands(), false
	for _, word := range args[:at] {
		i := slices.IndexFunc(cmds, func(c *cli.Command) bool { return c.HasName(word) })
		if i < 0 {
			continue
		}
		known = slices.ContainsFunc(cmds[i].Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), "n") })
		if cmds = cmds[i].Subcommands; len(cmds) == 0 {
			break
		}
	}
	if !known {
		return nil
	}
	// A flag that lacks its argument would take it.
	if last := args[at-1]; len(last) > 1 && last[0] == '-' {
		return nil
	}
	return slices.Insert(slices.Clone(args), at, "-n")
}

func (m *machine) refusedCmd(code int, says string, cmds ...*exec.Cmd) {
	m.t.Helper()
	before, mounts := m.snapshotWorld(), m.mounts()
	var r result
	for _, cmd := range cmds {
		r = start(m.t, cmd)
		if r.code != code || r.out != "" || !strings.Contains(r.err, says) {
			m.t.Errorf("wanted: exit %d, nothing on stdout, and %q\n%v", code, says, r)
		}
		if !strings.HasPrefix(r.err, "beadm: ") || strings.Count(r.err, "\n") != 1 {
			m.t.Errorf("not one sentence: %v", r)
		}
	}
	if after := m.snapshotWorld(); after != before {
		m.t.Errorf("it changed\n%s\nafter %v", differ(before, after), r)
	}
	if got := m.mounts(); !slices.Equal(got, mounts) {
		m.t.Errorf("mounted were %q, now %q, after %v", mounts, got, r)
	}
}

// addShell puts a shell into the root, if there is one that needs nothing else.
func (m *machine) addShell() bool {
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return false
	}
	check(m.t, os.WriteFile(filepath.Join(m.root, "bin/busybox"), b, 0o755))
	for _, name := range []string{"sh", "sleep", "true", "cat"} {
		check(m.t, os.Symlink("busybox", filepath.Join(m.root, "bin", name)))
	}
	return true
}
