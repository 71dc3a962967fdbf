package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// machines is a store with one boot environment, web, which is at Root by name.
func machines(t *testing.T, d disk) (beroot, web string) {
	t.Helper()
	beroot = filepath.Join(d.top, "machines")
	web = filepath.Join(beroot, "web")
	write(t, filepath.Join(web, "etc/hostname"), "web\n")
	return beroot, web
}

func clone(t *testing.T, s *Store, from, name string) {
	t.Helper()
	_, err := s.Create(context.Background(), be.CreateOptions{Name: name, UUID: be.NewUUID(), From: from, AutoSnapshot: "auto-" + name})
	must(t, err)
}

func list(t *testing.T, s *Store) map[string]be.BE {
	t.Helper()
	all, err := s.List(context.Background())
	must(t, err)
	m := map[string]be.BE{}
	for _, b := range all {
		m[b.Name] = b
	}
	return m
}

func junk(t *testing.T, path string, mib int) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	run(t, "dd", "if=/dev/urandom", "of="+path, "bs=1M", fmt.Sprintf("count=%d", mib), "status=none")
}

// TestMountsInsideStayOut: what is mounted in a root that is in use belongs to
// no boot environment, and is never copied or deleted.
func TestMountsInsideStayOut(t *testing.T) {
	t.Parallel()
	beroot, web := machines(t, newExt4(t))
	proc := filepath.Join(web, "mnt")
	must(t, os.Mkdir(proc, 0o755))
	must(t, unix.Mount("tmpfs", proc, "tmpfs", 0, ""))
	defer unix.Unmount(proc, unix.MNT_DETACH)
	write(t, filepath.Join(proc, "file"), "live")
	s := openStore(t, Config{BERoot: beroot, Root: web})
	clone(t, s, "web", "new")
	if names, err := os.ReadDir(filepath.Join(beroot, "@be-new/mnt")); err != nil || len(names) > 0 {
		t.Errorf("the clone holds %v of what is mounted in its source (%v)", names, err)
	}
	in := filepath.Join(beroot, "@be-new/mnt")
	must(t, unix.Mount(proc, in, "", unix.MS_BIND, ""))
	_, err := s.Destroy(context.Background(), "new", false)
	if be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), in) {
		t.Errorf("Destroy of one with a mount in it: %v", err)
	}
	must(t, unix.Unmount(in, 0))
	_, err = s.Destroy(context.Background(), "new", false)
	must(t, err)
	if b, err := os.ReadFile(filepath.Join(proc, "file")); string(b) != "live" {
		t.Errorf("what was mounted there holds %q (%v)", b, err)
	}
}

// TestHostIsRefused: a host cannot be sent back to a directory by any loader.
func TestHostIsRefused(t *testing.T) {
	beroot, web := machines(t, newTmpfs(t))
	for _, m := range [][2]string{{"/proc", "proc"}, {beroot, "store"}} {
		at := filepath.Join(web, m[1])
		must(t, os.Mkdir(at, 0o755))
		must(t, unix.Mount(m[0], at, "", unix.MS_BIND, ""))
		defer unix.Unmount(at, unix.MNT_DETACH)
	}
	said := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the function, and its root too
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Chroot(web)
		}
		if err == nil {
			err = unix.Chdir("/")
		}
		if err != nil {
			said <- fmt.Errorf("cannot enter it: %w", err)
			return
		}
		s, err := Open(context.Background(), Config{BERoot: "/store"})
		if err == nil {
			s.Close()
		}
		said <- err
	}()
	err := <-said
	if be.KindOf(err) != be.NoStore || !strings.Contains(fmt.Sprint(err), "/store/web is the root of this running system") {
		t.Errorf("in a host whose root is one of the directories: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	for _, path := range []string{"", "/", filepath.Join(dir, "missing"), filepath.Join(dir, "file")} {
		s, err := Open(context.Background(), Config{BERoot: path})
		if err == nil {
			s.Close()
		}
		if be.KindOf(err) != be.NoStore || !strings.HasPrefix(err.Error(), "no boot environments in") {
			t.Errorf("Open(%q): %v", path, err)
		}
	}
}

// TestRunningKeepsItsName: the directory that --root names is found by it.
func TestRunningKeepsItsName(t *testing.T) {
	t.Parallel()
	beroot, web := machines(t, newTmpfs(t))
	s := openStore(t, Config{BERoot: beroot, Root: web})
	if err := s.Rename(context.Background(), "web", "other"); be.KindOf(err) != be.InUse {
		t.Errorf("Rename of what runs under its own name: %v", err)
	}
	if b := list(t, s)["web"]; !b.Running || b.Location != web {
		t.Errorf("it is listed as %+v", b)
	}
}

// TestProcessKeepsItsRoot: what somebody has entered by chroot is in use,
// though nothing is mounted.
func TestProcessKeepsItsRoot(t *testing.T) {
	beroot, web := machines(t, newTmpfs(t))
	s := openStore(t, Config{BERoot: beroot, Root: web})
	clone(t, s, "web", "new")
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &unix.SysProcAttr{Chroot: filepath.Join(beroot, "@be-new")}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v: install busybox-static", err)
	}
	must(t, os.MkdirAll(filepath.Join(beroot, "@be-new/bin"), 0o755))
	must(t, os.WriteFile(filepath.Join(beroot, "@be-new/bin/sleep"), busybox, 0o755))
	cmd.Path, cmd.Err = "/bin/sleep", nil
	must(t, cmd.Start())
	_, err = s.Destroy(context.Background(), "new", true)
	if be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), fmt.Sprintf("process %d ", cmd.Process.Pid)) {
		t.Errorf("Destroy of what a process is in: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	_, err = s.Destroy(context.Background(), "new", false)
	must(t, err)
}

// TestCopiedMarks: a copy that others made of a boot environment is not it.
func TestCopiedMarks(t *testing.T) {
	t.Parallel()
	beroot, web := machines(t, newTmpfs(t))
	s := openStore(t, Config{BERoot: beroot, Root: web})
	clone(t, s, "web", "new")
	must(t, s.Describe(context.Background(), "new", "of new"))
	run(t, "cp", "-a", filepath.Join(beroot, "@be-new"), filepath.Join(beroot, "@be-copy"))
	run(t, "cp", "-a", web, filepath.Join(beroot, "spare"))
	all := list(t, s)
	if b := all["copy"]; b.Name == "" || b.UUID != "" || b.Description != "" {
		t.Errorf("the copy is listed as %+v", b)
	}
	if len(all) != 3 {
		t.Errorf("listed are %v", all)
	}
	b, err := s.Adopt(context.Background(), "spare")
	must(t, err)
	if b.UUID == "" || b.UUID == all["web"].UUID {
		t.Errorf("adopted, it is %+v", b)
	}
}

// TestWhatCopiesTake: with shared blocks next to nothing, else all of it and of
// the snapshot, of which one hears; and what there is no room for is refused before it is begun.
func TestWhatCopiesTake(t *testing.T) {
	for name, fs := range map[string]struct {
		disk   func(*testing.T) disk
		shares bool
	}{"ext4": {newExt4, false}, "xfs": {newXFS, true}, "btrfs": {newBtrfs, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beroot, web := machines(t, fs.disk(t))
			junk(t, filepath.Join(web, "var/junk"), 60)
			said := Progress{}
			s := openStore(t, Config{BERoot: beroot, Root: web, Progress: func(p Progress) { said = p }})
			unix.Sync()
			was := free(t, s)
			clone(t, s, "web", "new")
			took := was - free(t, s)
			if fs.shares && took > 16<<20 || !fs.shares && took < 120<<20 {
				t.Errorf("a clone of 60 MiB took %d KiB", took>>10)
			}
			if !said.Done || said.Files < 4 || said.Bytes < 60<<20 {
				t.Errorf("the last that was said of the copy is %+v", said)
			}
			if fs.shares {
				return
			}
			run(t, "fallocate", "-l", "300M", filepath.Join(web, "var/more"))
			was = free(t, s)
			_, err := s.Create(context.Background(), be.CreateOptions{Name: "big", UUID: be.NewUUID(), From: "web"})
			if be.KindOf(err) != be.Undone || !strings.Contains(err.Error(), "make room first") {
				t.Errorf("Create without room for it: %v", err)
			}
			if now := free(t, s); now != was || len(list(t, s)) != 2 {
				t.Errorf("refused, it left %d KiB and %v", (was-now)>>10, list(t, s))
			}
		})
	}
}

func free(t *testing.T, s *Store) int64 {
	t.Helper()
	n, err := s.Free(context.Background())
	must(t, err)
	return n
}

// TestKilledInACopy kills one that copies, as it copies the source to a snapshot
// and that to the clone: what is left says that it is not whole, and goes.
func TestKilledInACopy(t *testing.T) {
	const beroot, root, of = "BEADM_TEST_BEROOT", "BEADM_TEST_ROOT", "BEADM_TEST_COPY_OF"
	if os.Getenv(beroot) != "" { // the one that is killed
		s, err := Open(context.Background(), Config{BERoot: os.Getenv(beroot), Root: os.Getenv(root), Progress: func(p Progress) {
			if p.Files > 50 && p.Name == os.Getenv(of) {
				fmt.Println("copying")
				select {}
			}
		}})
		if err == nil {
			_, err = s.Create(context.Background(), be.CreateOptions{Name: "new", UUID: be.NewUUID(), From: "web", AutoSnapshot: "auto"})
		}
		t.Fatalf("it was not killed: %v", err)
	}
	for _, what := range []string{"web", "web@auto"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir, web := machines(t, newExt4(t))
			for i := range 400 {
				write(t, filepath.Join(web, fmt.Sprintf("d%d/f", i)), strings.Repeat("x", 5000))
			}
			cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledInACopy$", "-test.v")
			cmd.Env = append(os.Environ(), beroot+"="+dir, root+"="+web, of+"="+what)
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			said := ""
			for b := make([]byte, 4096); !strings.Contains(said, "copying"); {
				n, err := out.Read(b)
				said += string(b[:n])
				if err != nil {
					t.Fatalf("it said %s and %v", said, err)
				}
			}
			must(t, cmd.Process.Kill())
			cmd.Wait()
			s := openStore(t, Config{BERoot: dir, Root: web})
			ctx := context.Background()
			if what == "web" {
				if all := list(t, s); len(all) != 1 {
					t.Errorf("killed before anything of the clone was there, it left %v", all)
				}
				if snaps, err := s.Snapshots(ctx, "web"); err != nil || len(snaps) > 0 {
					t.Errorf("half a snapshot is listed: %v (%v)", snaps, err)
				}
			} else {
				if b := list(t, s)["new"]; !b.Incomplete {
					t.Errorf("killed, it is listed as %+v", b)
				}
				if err := s.Mount(ctx, "new", t.TempDir(), true); be.KindOf(err) != be.InUse {
					t.Errorf("Mount of it: %v", err)
				}
				_, err = s.Destroy(ctx, "new", false)
				must(t, err)
			}
			clone(t, s, "web", "new")
			if b := list(t, s)["new"]; b.UUID == "" || b.Incomplete {
				t.Errorf("made again, it is listed as %+v", b)
			}
			kept, err := filepath.Glob(filepath.Join(dir, snapshotsDir, "*/*"))
			if err != nil || len(kept) != 1 {
				t.Errorf("snapshots on the disk: %v (%v)", kept, err)
			}
		})
	}
}

// TestImmutable: chattr +i in a guest stands in the way of neither copy nor
// destroying.
func TestImmutable(t *testing.T) {
	t.Parallel()
	beroot, web := machines(t, newExt4(t))
	file := filepath.Join(web, "etc/hostname")
	run(t, "chattr", "+i", file)
	defer run(t, "chattr", "-i", file)
	s := openStore(t, Config{BERoot: beroot, Root: web})
	clone(t, s, "web", "new")
	if err := os.WriteFile(filepath.Join(beroot, "@be-new/etc/hostname"), nil, 0o644); !errors.Is(err, unix.EPERM) {
		t.Errorf("the copy of an immutable file can be written: %v", err)
	}
	_, err := s.Destroy(context.Background(), "new", false)
	must(t, err)
}

// TestReadOnlySubvolumeInside: a read-only subvolume that somebody made in one does
// not keep it from going.
func TestReadOnlySubvolumeInside(t *testing.T) {
	t.Parallel()
	beroot, web := machines(t, newBtrfs(t))
	s := openStore(t, Config{BERoot: beroot, Root: web})
	clone(t, s, "web", "new")
	for _, path := range []string{"srv", "srv/inner"} {
		at := filepath.Join(beroot, "@be-new", path)
		run(t, "btrfs", "-q", "subvolume", "create", at)
		write(t, filepath.Join(at, "dir/file"), "x")
	}
	for _, path := range []string{"srv/inner", "srv"} {
		run(t, "btrfs", "property", "set", filepath.Join(beroot, "@be-new", path), "ro", "true")
	}
	// A copy of it is a directory that can be written.
	clone(t, s, "new", "copy")
	write(t, filepath.Join(beroot, "@be-copy/srv/inner/dir/more"), "x")
	for _, name := range []string{"new", "copy"} {
		_, err := s.Destroy(context.Background(), name, false)
		must(t, err)
	}
	if left := list(t, s); len(left) != 1 {
		t.Errorf("left are %v", left)
	}
	if names, _ := filepath.Glob(filepath.Join(beroot, "@*")); len(names) > 0 {
		t.Errorf("left are %q", names)
	}
}

// TestSnapshotOfAll: what somebody's snapshot of the whole holds too does not come
// back.
func TestSnapshotOfAll(t *testing.T) {
	t.Parallel()
	d := newBtrfs(t)
	whole := d.top
	d.top = filepath.Join(whole, "all")
	run(t, "btrfs", "-q", "subvolume", "create", d.top)
	beroot, web := machines(t, d)
	s := openStore(t, Config{BERoot: beroot, Root: web})
	clone(t, s, "web", "new")
	junk(t, filepath.Join(beroot, "@be-new/big"), 4)
	frees := func(when string, least, most int64) {
		t.Helper()
		f, err := s.Frees(context.Background(), []string{"new"})
		must(t, err)
		spaces, err := s.Spaces(context.Background())
		must(t, err)
		if f.AtLeast || f.Bytes < least || f.Bytes > most || spaces["new"] != f.Bytes {
			t.Errorf("%s new would free %+v, and holds %d", when, f, spaces["new"])
		}
	}
	frees("alone", 4<<20, 5<<20)
	run(t, "btrfs", "-q", "subvolume", "snapshot", "-r", d.top, filepath.Join(whole, "yesterday"))
	frees("with a snapshot of all", 0, 1<<20)
	junk(t, filepath.Join(beroot, "@be-new/more"), 2)
	frees("written since", 2<<20, 3<<20)
	run(t, "btrfs", "-q", "subvolume", "delete", "-c", filepath.Join(whole, "yesterday"))
	run(t, "btrfs", "subvolume", "sync", whole)
	frees("without it", 6<<20, 7<<20)
}

// TestFullInTheMiddle: others fill the disk while a copy is made.
func TestFullInTheMiddle(t *testing.T) {
	t.Parallel()
	d := newExt4(t)
	beroot, web := machines(t, d)
	junk(t, filepath.Join(web, "big"), 4)
	for i := range 300 {
		write(t, filepath.Join(web, "etc", fmt.Sprint(i)), strings.Repeat("x", 3000))
	}
	s := openStore(t, Config{BERoot: beroot, Root: web})
	_, err := s.Adopt(context.Background(), "web")
	must(t, err)
	filler := filepath.Join(d.top, "filler")
	s.effect = func(when, what string) error {
		if when == before && strings.HasPrefix(what, "copy ") {
			f, err := os.Create(filler)
			must(t, err)
			defer f.Close()
			// Root may take what is kept for it, too.
			for size := int64(1 << 30); size >= 4096; size /= 2 {
				for {
					end, err := f.Seek(0, io.SeekEnd)
					must(t, err)
					if unix.Fallocate(int(f.Fd()), 0, end, size) != nil {
						break
					}
				}
			}
		}
		return nil
	}
	before, err := os.ReadDir(beroot)
	must(t, err)
	for what, f := range map[string]func() error{
		"create": func() error {
			_, err := s.Create(context.Background(), be.CreateOptions{Name: "new", From: "web", AutoSnapshot: "auto"})
			return err
		},
		"snapshot": func() error { _, err := s.Snapshot(context.Background(), "web", "good"); return err },
	} {
		if err := f(); be.KindOf(err) != be.Undone || !strings.Contains(err.Error(), "full") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s on a disk that fills up: %v (kind %d)", what, err, be.KindOf(err))
		}
		fillers, _ := filepath.Glob(filler + "*")
		for _, f := range fillers {
			must(t, os.Remove(f))
		}
		if left := list(t, s); len(left) != 1 {
			t.Errorf("%s left %v", what, left)
		}
		if snaps, err := s.Snapshots(context.Background(), "web"); err != nil || len(snaps) > 0 {
			t.Errorf("%s left the snapshots %v, %v", what, snaps, err)
		}
		after, err := os.ReadDir(beroot)
		must(t, err)
		for _, e := range after {
			if e.Name() != ".beadm-snapshots" && !slices.ContainsFunc(before, func(b os.DirEntry) bool { return b.Name() == e.Name() }) {
				t.Errorf("%s left %s", what, e.Name())
			}
		}
	}
	s.effect = nil
	clone(t, s, "web", "new")
}
