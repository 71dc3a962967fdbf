//go:build linux

package copier

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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

// describe lists everything about a tree that a copy keeps.
func describe(t *testing.T, top string) string {
	t.Helper()
	group := map[string]int{} // inode → number, by order of first name
	var lines []string
	err := filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%q mode=%o uid=%d gid=%d mtime=%d.%09d", strings.TrimPrefix(path, top),
			st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		if kind(&st) != unix.S_IFDIR {
			id := fmt.Sprint(st.Ino)
			if group[id] == 0 {
				group[id] = len(group) + 1
			}
			line += fmt.Sprintf(" link=%d size=%d rdev=%d", group[id], st.Size, st.Rdev)
			if kind(&st) != unix.S_IFLNK { // which looking at it changes
				line += fmt.Sprintf(" atime=%d", st.Atim.Sec)
			}
		}
		list, err := names(pathAttrs(path))
		if err != nil {
			return err
		}
		sort.Strings(list)
		for _, name := range list {
			v, _ := value(pathAttrs(path), name)
			line += fmt.Sprintf(" %s=%x", name, v)
		}
		switch kind(&st) {
		case unix.S_IFLNK:
			target, _ := os.Readlink(path)
			line += fmt.Sprintf(" -> %q", target)
		case unix.S_IFREG:
			in, err := openFile(unix.AT_FDCWD, path)
			if err != nil {
				return err
			}
			defer in.Close()
			data := make([]byte, st.Size)
			in.ReadAt(data, 0)
			line += fmt.Sprintf(" content=%x", data[:min(len(data), 64)])
			var sum uint64
			for i, b := range data {
				sum = sum*31 + uint64(b) + uint64(i)
			}
			line += fmt.Sprintf(" sum=%x", sum)
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

const everything = `
umask 022
mkdir -p d/sub empty; mkdir -m 2775 mail; mkdir -m 1777 tmp
printf hello > d/a; chown 8:12 d/a; chmod 4751 d/a; touch -d '2001-02-03 04:05:06.123456789' d/a
ln d/a d/b; ln d/a z-link; printf other > d/c; ln d/c mail/c
truncate -s 40M holes; printf x | dd of=holes bs=1 seek=20000000 conv=notrunc status=none; truncate -s 3M onlyhole
ln -s /etc/passwd abs; ln -s ../../x rel; ln -s nothing dangling; chown -h 5:6 rel; touch -h -d '1999-01-01 00:00:00.5' rel
mkfifo -m 640 fifo; mknod -m 600 dev c 1 3; mknod blk b 7 99
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'; chmod 666 sock; chown 33 sock
touch "$(printf 'bad\377name\nline')" "$(printf 'sp ace')" -- -dash
setfattr -n user.x -v y d/c; setfattr -n trusted.t -v 1 d/c; setfattr -n trusted.t -v 1 -h rel; setfattr -n trusted.t -v 2 fifo
setfattr -n user.empty d/c
cp /bin/true cap; setcap cap_net_raw+ep cap
setfacl -m u:33:rwx,g:12:r d/c; setfacl -d -m u:44:rx mail; printf m > mail/inherits; mkdir mail/deep; setfacl -b mail/inherits
dd if=/dev/urandom of=big bs=1M count=3 status=none
chmod 0 empty; touch -d '2005-05-05 05:05:05.000000005' d mail
`

func open(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// places are directories on the file systems at hand.
func places(t *testing.T) map[string][2]string {
	p := map[string][2]string{"here": {t.TempDir(), t.TempDir()}}
	img := filepath.Join(t.TempDir(), "img")
	mnt := t.TempDir()
	if err := exec.Command("bash", "-ec", "truncate -s 300M "+img+" && mkfs.btrfs -q "+img+" && mount -o loop "+img+" "+mnt).Run(); err != nil {
		t.Logf("no btrfs here: %v", err)
		return p
	}
	t.Cleanup(func() { exec.Command("umount", mnt).Run() })
	sh(t, mnt, "btrfs -q subvolume create a; btrfs -q subvolume create b; mkdir here")
	p["btrfs"] = [2]string{mnt + "/a", mnt + "/b"}
	p["across"] = [2]string{mnt + "/here", t.TempDir()}
	return p
}

func TestTreeKeepsEverything(t *testing.T) {
	asRoot(t)
	for name, p := range places(t) {
		t.Run(name, func(t *testing.T) {
			sh(t, p[0], everything)
			before := describe(t, p[0])
			res, err := Tree(context.Background(), open(t, p[0]), open(t, p[1]), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(t, p[1]); got != before {
				t.Errorf("copy differs:\n%s\nwant\n%s", got, before)
			}
			if after := describe(t, p[0]); after != before {
				t.Errorf("the source was changed:\n%s\nwas\n%s", after, before)
			}
			var st unix.Stat_t
			unix.Lstat(p[1]+"/holes", &st)
			if st.Blocks*512 > 4<<20 {
				t.Errorf("the holes are filled: %d blocks", st.Blocks)
			}
			if res.Bytes > 60<<20 || res.Files < 25 {
				t.Errorf("%+v", res)
			}
		})
	}
}

func TestPassesCopyWhatChanged(t *testing.T) {
	asRoot(t)
	src, dst := t.TempDir(), t.TempDir()
	sh(t, src, everything)
	c := New(open(t, src), open(t, dst), Options{})
	defer c.Close()
	ctx := context.Background()
	pass := func(live bool) Result {
		t.Helper()
		res, err := c.Pass(ctx, live)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := pass(true)
	if first.Copied == 0 {
		t.Fatalf("%+v", first)
	}
	// Too young to be trusted: copied again, but not once they have aged.
	time.Sleep(racy + 100*time.Millisecond)
	pass(true)
	if res := pass(false); res.Copied != 0 || res.Bytes != 0 || res.Deleted != 0 || res.Changed != 0 {
		t.Errorf("nothing changed, yet: %+v", res)
	}
	for _, change := range []string{
		"printf more >> d/c",
		// Same size and time as before: only the change time tells.
		"touch -r d/a ../stamp; printf HELLO | dd of=d/a conv=notrunc status=none; touch -r ../stamp d/a",
		"rm d/b; ln big d/b",
		"mv d e; mkdir d; printf n > d/a",
		"rm z-link; mkdir z-link; touch z-link/in",
		"rm -r mail; ln -s /etc mail",
		"rm sock; printf now-file > sock; rm -r e",
		"setfattr -n user.x -v z big; chmod 700 tmp; chown 3 fifo",
		// Moved from elsewhere with old times, over one of the same size.
		"printf aaaa > n1; printf bbbb > n2; touch -d 2003-01-01 n1 n2",
		"mv n2 n1",
		"mkdir one two; printf 1 > one/f; printf 2 > two/f; touch -d 2003-01-01 one/f two/f",
		"mv one three; mv two one; mv three two",
	} {
		time.Sleep(20 * time.Millisecond)
		sh(t, src, change)
		res := pass(false)
		if got, want := describe(t, dst), describe(t, src); got != want {
			t.Fatalf("after %q:\n%s\nwant\n%s", change, got, want)
		}
		if res.Changed != 0 {
			t.Errorf("after %q: %+v", change, res)
		}
	}
	// A second copier does not know what is there, and trusts none of it.
	sh(t, dst, "printf x > big; mkdir -p junk/below; touch .beadm-new-left")
	if _, err := Tree(ctx, open(t, src), open(t, dst), Options{}); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(t, dst), describe(t, src); got != want {
		t.Fatalf("%s\nwant\n%s", got, want)
	}
}

func TestNeverFollowsALinkOut(t *testing.T) {
	asRoot(t)
	src, dst, out := t.TempDir(), t.TempDir(), t.TempDir()
	sh(t, out, "printf secret > f; mkdir sub")
	sh(t, src, "mkdir d; printf evil > d/f; printf evil > e")
	// What an attacker has put into the destination.
	sh(t, dst, "ln -s "+out+" d; ln -s "+out+"/f e; ln -s "+out+" gone")
	if _, err := Tree(context.Background(), open(t, src), open(t, dst), Options{}); err != nil {
		t.Fatal(err)
	}
	if got := describe(t, dst); got != describe(t, src) {
		t.Error(got)
	}
	if data, _ := os.ReadFile(out + "/f"); string(data) != "secret" {
		t.Errorf("outside was written: %q", data)
	}
	if _, err := os.Stat(out + "/sub"); err != nil {
		t.Error("outside was deleted")
	}
}

// While a tree is written to without pause, with directories swapped for
// links that lead out, a live pass neither fails nor leaves; the next one,
// when it is quiet, makes it true.
func TestLivePass(t *testing.T) {
	asRoot(t)
	src, dst, out := t.TempDir(), t.TempDir(), t.TempDir()
	sh(t, out, "for i in $(seq 50); do printf secret > s$i; done")
	sh(t, src, "mkdir d; touch d/a")
	cmd := exec.Command("bash", "-c", `cd "$0"; while :; do
		for i in 1 2 3 4 5; do echo line >> log; echo $RANDOM > n.tmp; mv n.tmp n; mkdir -p d x; echo 1 > d/f$i 2>/dev/null; done
		rm -rf d; ln -s "$1" d; rm d; rm -rf x; ln -s n x; rm x; done`, src, out)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { unix.Kill(-cmd.Process.Pid, unix.SIGKILL); cmd.Wait() }
	defer stop()
	c := New(open(t, src), open(t, dst), Options{})
	defer c.Close()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		if _, err := c.Pass(context.Background(), true); err != nil {
			t.Fatal(err)
		}
		if found, _ := exec.Command("grep", "-rl", "secret", dst).Output(); len(found) > 0 {
			t.Fatalf("copied from outside: %s", found)
		}
	}
	stop()
	if res, err := c.Pass(context.Background(), false); err != nil || res.Changed != 0 {
		t.Fatalf("%+v %v", res, err)
	}
	if got, want := describe(t, dst), describe(t, src); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestRefusesAMount(t *testing.T) {
	asRoot(t)
	src, dst := t.TempDir(), t.TempDir()
	sh(t, src, "mkdir m")
	if err := unix.Mount(src, src+"/m", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(src+"/m", 0)
	_, err := Tree(context.Background(), open(t, src), open(t, dst), Options{})
	if err == nil || !strings.Contains(err.Error(), "mounted there") {
		t.Fatal(err)
	}
}

func TestLinksAreRewritten(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	sh(t, src, "ln -s a b")
	o := Options{Link: func(path, target string) string { return path + ":" + target }}
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: giving files to others takes root")
	}
	if _, err := Tree(context.Background(), open(t, src), open(t, dst), o); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.Readlink(dst + "/b"); got != "b:a" {
		t.Error(got)
	}
}

// TestSkip: what is left out is not in the copy, whatever it is, and what was
// there of it before is deleted.
func TestSkip(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	sh(t, src, "mkdir -p a/b c; echo 1 >a/b/x; echo 2 >a/y; echo 3 >c/x; echo 4 >b")
	sh(t, dst, "mkdir -p a/b; echo old >a/b/x")
	o := Options{Skip: func(path string) bool { return path == "a/b" || path == "c" }}
	if _, err := Tree(context.Background(), open(t, src), open(t, dst), o); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, pattern := range []string{"*", "*/*"} {
		found, err := filepath.Glob(filepath.Join(dst, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			names = append(names, strings.TrimPrefix(f, dst+"/"))
		}
	}
	if got := strings.Join(names, " "); got != "a b a/y" {
		t.Errorf("the copy holds %q", got)
	}
}
