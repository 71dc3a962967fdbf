//go:build linux

package share

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// What chattr(1) has made of files goes with them, there and back, and is in
// nobody's way: an append-only log stays one.
func TestFlagsOfFiles(t *testing.T) {
	ctx := context.Background()
	root := onBtrfs(t)
	sh(t, root, `
printf secure >var/log/secure; chattr +a var/log/secure
mkdir var/log/journal; chattr +C var/log/journal; head -c 100000 /dev/urandom >var/log/journal/nocow; mkdir var/log/fixed; printf x >var/log/fixed/x
touch var/log/journal/cow; chattr -C var/log/journal/cow; head -c 100000 /dev/urandom >var/log/journal/cow
printf k >var/log/kept; ln var/log/kept var/log/kept2; chattr +i var/log/kept; chattr +i var/log/fixed; printf d >var/log/nodump; chattr +dA var/log/nodump; printf c >var/log/packed; chattr +c var/log/packed`)
	flags := func() string {
		t.Helper()
		// With btrfs' own, which chattr +c sets too.
		out, err := exec.Command("bash", "-c", "cd "+root+"/var/log/ && lsattr -d . && lsattr -R . 2>/dev/null | grep '^[-a-zA-Z]* ' | sort").Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	content := func() string { return seenAt(t, root, []string{"/var/log"}) }
	want, text := flags(), content()
	for _, has := range []string{"a-- ./secure", "-i--- ./kept", "-C-- ./journal/nocow", "dA-- ./nodump", "-c-- ./packed"} {
		if !regexp.MustCompile(strings.Replace(has, "-- ", "-+ ", 1)).MatchString(want) {
			t.Fatalf("no %s:\n%s", has, want)
		}
	}
	o := Options{Root: root, OS: "linux", Paths: []string{"/var/log"}}
	both := func(when string) {
		t.Helper()
		if got := flags(); got != want {
			t.Errorf("%s: flags\n%s\nwant\n%s", when, got, want)
		}
		if got := content(); got != text {
			t.Errorf("%s:\n%s\nwant\n%s", when, got, text)
		}
	}
	if _, err := Init(ctx, o); err != nil {
		t.Fatal(err)
	}
	both("moved")
	if _, err := Undo(ctx, o); err != nil {
		t.Fatal(err)
	}
	both("put back")
	if err := Commit(ctx, root, root+"/var/share"); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(root + "/var/.beadm-*"); len(left) != 1 || left[0] != root+backFile {
		t.Errorf("left %q", left)
	}
	// One that cannot be exchanged at all.
	sh(t, root, "chattr +i var/log")
	if _, err := Init(ctx, o); be.KindOf(err) != be.Decision || !strings.Contains(err.Error(), "cannot share /var/log: it is immutable or append-only, and cannot be exchanged for a link: chattr -ia /var/log first") {
		t.Errorf("%v", err)
	}
	sh(t, root, "chattr -i var/log")
	// A boot environment of before has some, too.
	if _, err := Init(ctx, o); err != nil {
		t.Fatal(err)
	}
	old := clone(t, "mkdir -p var/log; printf own >var/log/own; chattr +a var/log/own || true")
	t.Cleanup(func() { exec.Command("chattr", "-R", "-ai", old).Run() })
	if _, err := Adopt(ctx, old, root+"/var/share", "linux", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Arrive(ctx, old, root+"/var/share", time.Now()); err != nil {
		t.Fatal(err)
	}
	sh(t, root, `test "$(cat var/log/own)" = own; test ! -e `+old+`/var/.beadm-staged/log`)
	exec.Command("chattr", "-R", "-ai", root+"/var/share", root+"/var/.beadm-old").Run()
}

// Somebody who owns the directory above puts another in the place of the one that
// is copied, or a link to what is root's.
func TestSwappedWhileItIsCopied(t *testing.T) {
	for _, by := range []string{"mkdir srv/alice/mail; echo other >srv/alice/mail/other", "ln -s /etc srv/alice/mail"} {
		root := system(t)
		sh(t, root, "mkdir -p srv/alice/mail; echo hers >srv/alice/mail/x; chown -R 1000 srv/alice")
		onEffect = func(what string) {
			if strings.HasPrefix(what, "name copy of") {
				onEffect = nil
				sh(t, root, "mv srv/alice/mail srv/alice/moved; "+by)
			}
		}
		_, err := Init(context.Background(), Options{Root: root, OS: "linux", Paths: []string{"/srv/alice/mail"}})
		onEffect = nil
		if err == nil || !strings.Contains(err.Error(), "/srv/alice/mail: something else was put in its place while it was copied") {
			t.Errorf("%v", err)
		}
		sh(t, root, `test "$(cat srv/alice/moved/x)" = hers; test "$(cat etc/shadow)" = shadow; test ! -e .beadm-old/+srv+alice+mail/shadow; test -e srv/alice/mail/other -o "$(readlink srv/alice/mail)" = /etc; test ! -e var/share/+srv+alice+mail`)
	}
}

// A path that cannot be written down is refused; what is in one has any name.
func TestNamesOfAnyBytes(t *testing.T) {
	root := system(t)
	sh(t, root, `mkdir $'var/\xff' var/www; printf x >$'var/www/\xff\xfe\n'; ln -s $'\xff\xfe\n' $'var/www/\xfd'; printf y >$'var/www/%s'`)
	if _, err := MakePlan(context.Background(), root, nil, false, "/var/\xff"); be.KindOf(err) != be.Decision || !strings.Contains(err.Error(), "its path is no UTF-8") {
		t.Errorf("%v", err)
	}
	before := seenAt(t, root, []string{"/var/www"})
	if _, err := Init(context.Background(), Options{Root: root, OS: "linux", Paths: []string{"/var/www"}}); err != nil {
		t.Fatal(err)
	}
	if got := seenAt(t, root, []string{"/var/www"}); got != before {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
}

// The disk is full in the middle, whatever was counted before: everything is as
// it was, and again once there is room.
func TestFullInTheMiddle(t *testing.T) {
	ctx := context.Background()
	root := onBtrfs(t)
	sh(t, root, `mkdir var/share/x; head -c 20M /dev/urandom >var/spool/big; cp --reflink=never var/spool/big var/spool/big2; umount var/share; mkdir var/small; truncate -s 48M small.img; mkfs.ext4 -q small.img; mount -o loop small.img var/share`)
	t.Cleanup(func() { unix.Unmount(root+"/var/share", unix.MNT_DETACH) })
	before := seen(t, root)
	_, err := Init(ctx, Options{Root: root, OS: "linux", Free: 1 << 40})
	if err == nil || !strings.HasPrefix(err.Error(), "cannot copy "+root+"/var/spool/big") || !strings.HasSuffix(err.Error(), ": no space left on device") {
		t.Errorf("%v", err)
	}
	if got := seen(t, root); got != before {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
	if left, _ := os.ReadDir(root + "/var/share"); len(left) != 1 { // lost+found
		t.Errorf("left %v", left)
	}
	sh(t, root, "rm var/spool/big2")
	before = seen(t, root)
	if res, err := Init(ctx, Options{Root: root, OS: "linux"}); err != nil || len(res.Moved) != 4 {
		t.Fatalf("%+v %v", res, err)
	}
	if got := seen(t, root); got != before {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
}

// A file with names in two of the directories, and one outside, has one content
// in both afterwards, and when they are back.
func TestHardLinksBetweenDirectories(t *testing.T) {
	ctx := context.Background()
	for name, root := range map[string]string{"": system(t), "btrfs": onBtrfs(t)} {
		sh(t, root, `mkdir var/spool/d; printf one >var/log/one; ln var/log/one var/spool/d/one; ln var/log/one var/spool/d/again; ln var/log/one var/lib/one; printf two >var/mail/two; ln var/mail/two var/tmp/two`)
		same := func(when string) {
			t.Helper()
			sh(t, root, `test var/log/one -ef var/spool/d/one; test var/log/one -ef var/spool/d/again; test var/mail/two -ef var/tmp/two; test "$(cat var/log/one)" = one; test "$(cat var/lib/one)" = one; test "$(stat -c %h var/mail/two)" = 2 # `+name+when)
		}
		o := Options{Root: root, OS: "linux"}
		if _, err := Init(ctx, o); err != nil {
			t.Fatal(err)
		}
		same("moved")
		sh(t, root, "test ! var/log/one -ef var/lib/one; printf ' more' >>var/mail/two; test \"$(cat var/tmp/two)\" = 'two more'; printf two >var/mail/two")
		if _, err := Undo(ctx, o); err != nil {
			t.Fatal(err)
		}
		same("put back")
	}
}

func isLink(p string) bool {
	info, err := os.Lstat(p)
	return err == nil && info.Mode()&os.ModeSymlink != 0
}

// Whoever replaces a file in the directory that is exchanged already does not
// have his linked into the next.
func TestHardLinkIsReplacedBetweenTheExchanges(t *testing.T) {
	root := system(t)
	sh(t, root, `printf one >var/log/one; ln var/log/one var/spool/one`)
	onEffect = func(what string) {
		if what == "copy the rest of /var/spool" && isLink(root+"/var/log") { // it is exchanged
			sh(t, root, "printf new >var/log/.new; mv var/log/.new var/log/one; chmod 600 var/.beadm-old/log/one")
		}
	}
	_, err := Init(context.Background(), Options{Root: root, OS: "linux", Paths: []string{"/var/log", "/var/spool"}})
	onEffect = nil
	if err != nil {
		t.Fatal(err)
	}
	sh(t, root, `test "$(cat var/log/one)" = new; test "$(cat var/spool/one)" = one`)
}

// A tree whose paths are longer than the kernel takes in one piece (PATH_MAX),
// and one that is deeper than beadm goes.
func TestDeepTree(t *testing.T) {
	ctx := context.Background()
	root := system(t)
	sh(t, root, `cd var/spool; n=$(printf 'x%.0s' $(seq 100)); for i in $(seq 100); do mkdir $n; cd $n; done; echo deep >file; ln file hard; ln -s $(printf '../%.0s' $(seq 100))../mail/alice out; setfattr -n user.q -v 1 file; mkfifo fifo`)
	deep := func() string {
		t.Helper()
		out, err := exec.Command("bash", "-c", "cd "+root+"/var/spool/ && find . -depth -printf '%P %y %s %m %n %T@\n' | grep -v -e '^ d ' -e ' l ' && while cd x*; do :; done 2>/dev/null && cat file hard out").Output()
		if err != nil || !strings.HasSuffix(string(out), "deep\ndeep\nFrom a\n") || len(out) < 500000 {
			t.Fatalf("%v: %d bytes", err, len(out))
		}
		return string(out)
	}
	before := deep()
	o := Options{Root: root, OS: "linux", Paths: []string{"/var/spool"}}
	if _, err := Init(ctx, o); err != nil {
		t.Fatal(err)
	}
	if deep() != before {
		t.Error("moved, it is another")
	}
	if _, err := Undo(ctx, o); err != nil {
		t.Fatal(err)
	}
	if deep() != before {
		t.Error("put back, it is another")
	}
	if err := Commit(ctx, root, root+"/var/share"); err != nil {
		t.Fatal(err)
	}
	root = system(t)
	sh(t, root, `cd var/log; for i in $(seq 450); do mkdir d; cd d; done; echo deep >file`)
	before = seen(t, root)
	if _, err := Init(ctx, Options{Root: root, OS: "linux", Paths: []string{"/var/log"}}); err == nil || err.Error() != "cannot move /var/log: something in it cannot be copied: more than 400 directories deep" {
		t.Errorf("%v", err)
	}
	if seen(t, root) != before {
		t.Error("what was refused changed something")
	}
}
