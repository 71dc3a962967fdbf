//go:build linux

package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func mail(n int) string {
	return fmt.Sprintf("From a@example.org Sat Nov 21 10:00:00 2026\nSubject: %d\n\ntext %d\n\n", n, n)
}

// kept is what a snapshot holds, and lost what became of it: every mailbox was
// truncated, and new mail came.
func keptAndLost(t *testing.T) (snap, live string) {
	t.Helper()
	asRoot(t)
	snap, live = t.TempDir(), t.TempDir()
	for _, dir := range []string{snap, live} {
		sh(t, dir, `umask 022; mkdir -p spool/cron/crontabs; mkdir -m 2775 mail; chown 0:8 mail; echo 'socket goes' >spool/gone; rm spool/gone`)
	}
	put := func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o660); err != nil {
			t.Fatal(err)
		}
	}
	put(snap+"/mail/alice", mail(1)+mail(2))
	put(live+"/mail/alice", mail(3))
	put(snap+"/mail/bob", mail(1))
	put(live+"/mail/bob", "")
	put(snap+"/mail/carol", mail(7))
	put(snap+"/mail/carol.lock", "1\n")
	put(snap+"/mail/dave", mail(8))
	put(live+"/mail/dave", mail(8)+mail(9))
	put(snap+"/spool/cron/crontabs/root", "0 1 * * * old\n")
	put(live+"/spool/cron/crontabs/root", "0 1 * * * other\n")
	put(snap+"/spool/queue/job", "job")
	for _, m := range []string{"cur/1.a.host:2,S", "new/2.b.host", "cur/3.c.host:2,"} {
		put(snap+"/mail/erin/"+m, m)
	}
	put(snap+"/mail/erin/tmp/half", "")
	put(snap+"/mail/erin/dovecot-uidlist", "old")
	put(live+"/mail/erin/dovecot-uidlist", "new")
	put(live+"/mail/erin/cur/2.b.host:2,RS", "read since")
	put(live+"/mail/erin/new/9.z.host", "new")
	os.MkdirAll(live+"/mail/erin/tmp", 0o700)
	put(snap+"/mail/mh/.mh_sequences", "cur: 2")
	put(snap+"/mail/mh/1", mail(1))
	put(snap+"/mail/mh/2", mail(2))
	put(live+"/mail/mh/.mh_sequences", "cur: 1")
	put(live+"/mail/mh/1", mail(2)) // packed
	sh(t, snap, "chown 33:8 mail/alice mail/carol; chmod 640 mail/carol; touch -d 2001-01-01 mail/carol; ln -s ../etc spool/link; mkfifo spool/fifo")
	sh(t, live, "chown 33:8 mail/alice; chmod 660 mail/alice")
	return snap, live
}

func restored(t *testing.T, live string) {
	t.Helper()
	for file, want := range map[string]string{
		"mail/alice": mail(1) + mail(2) + mail(3), "mail/bob": mail(1), "mail/carol": mail(7), "mail/dave": mail(8) + mail(9),
		"spool/cron/crontabs/root": "0 1 * * * old\n", "spool/queue/job": "job",
		"mail/erin/cur/1.a.host:2,S": "cur/1.a.host:2,S", "mail/erin/cur/2.b.host:2,RS": "read since", "mail/erin/cur/3.c.host:2,": "cur/3.c.host:2,",
		"mail/erin/new/9.z.host": "new", "mail/erin/dovecot-uidlist": "new",
		"mail/mh/1": mail(2), "mail/mh/2": mail(1), "mail/mh/.mh_sequences": "cur: 1",
	} {
		if got := read(t, live+"/"+file); got != want {
			t.Errorf("%s holds\n%s\nand should hold\n%s", file, got, want)
		}
	}
	for _, gone := range []string{"mail/erin/new/2.b.host", "mail/erin/tmp/half", "mail/carol.lock", "mail/alice.lock", "mail/mh/3", ".beadm-restoring"} {
		if _, err := os.Lstat(live + "/" + gone); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", gone, err)
		}
	}
	out, err := exec.Command("stat", "-c", "%u:%g %a %Y %F", live+"/mail/alice", live+"/mail/carol", live+"/spool/link").Output()
	if lines := strings.Split(string(out), "\n"); err != nil || !strings.HasPrefix(lines[0], "33:8 660") || !strings.HasPrefix(lines[1], "33:8 640 978307200") || !strings.HasSuffix(lines[2], "symbolic link") {
		t.Errorf("owners, modes and times: %s %v", out, err)
	}
	if out, _ := exec.Command("find", live, "-name", ".beadm-new*").Output(); len(out) > 0 {
		t.Errorf("left over: %s", out)
	}
}

func TestRestore(t *testing.T) {
	snap, live := keptAndLost(t)
	before := read(t, live+"/mail/alice")
	o := RestoreOptions{Snap: snap, Live: live, Paths: []string{"mail", "/spool/"}, Aside: "now", DryRun: true}
	would, err := Restore(t.Context(), o)
	if err != nil || read(t, live+"/mail/alice") != before {
		t.Fatalf("a dry run: %v", err)
	}
	if _, err := os.Lstat(live + "/mail/carol"); err == nil {
		t.Fatal("a dry run restores")
	}
	o.DryRun = false
	var inode syscall.Stat_t
	syscall.Stat(live+"/mail/alice", &inode)
	got, err := Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	restored(t, live)
	var now syscall.Stat_t
	if syscall.Stat(live+"/mail/alice", &now); now.Ino != inode.Ino {
		t.Error("the mailbox is another file")
	}
	if fmt.Sprint(got.Mailboxes, got.Messages, got.SetAside) != "[mail/alice mail/bob] 3 [spool/cron/crontabs/root]" || len(got.Locked) != 0 {
		t.Errorf("it says %+v", got)
	}
	if aside := read(t, live+"/"+got.Directory+"/spool/cron/crontabs/root"); aside != "0 1 * * * other\n" {
		t.Errorf("set aside was %q", aside)
	}
	if st, err := os.Stat(live + "/" + ReplacedDir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("others may look at what was set aside: %v %v", st.Mode(), err)
	}
	would.Directory = got.Directory
	if fmt.Sprintf("%+v", would) != fmt.Sprintf("%+v", got) {
		t.Errorf("a dry run says\n%+v and it is\n%+v", would, got)
	}
	again, err := Restore(t.Context(), o)
	if err != nil || len(again.Mailboxes)+len(again.SetAside)+again.Brought != 0 {
		t.Errorf("the second restore does %+v %v", again, err)
	}
	restored(t, live)
}

func TestRestoreRefuses(t *testing.T) {
	snap, live := keptAndLost(t)
	for _, p := range []string{"", ".", "..", "../etc", ".beadm-arrived", "mail/nobody", "nothing/here"} {
		if _, err := Restore(t.Context(), RestoreOptions{Snap: snap, Live: live, Paths: []string{p}}); err == nil {
			t.Errorf("%q is restored", p)
		}
	}
	// Who made a link of a directory in between finds nothing behind it.
	outside := t.TempDir()
	sh(t, live, "rm -r spool/cron; ln -s "+outside+" spool/cron")
	got, err := Restore(t.Context(), RestoreOptions{Snap: snap, Live: live, Paths: []string{"spool"}, Aside: "x"})
	if list, _ := os.ReadDir(outside); len(list) != 0 || err != nil {
		t.Errorf("through a link: %v %v", list, err)
	}
	if fmt.Sprint(got.SetAside) != "[spool/cron]" || read(t, live+"/spool/cron/crontabs/root") != "0 1 * * * old\n" {
		t.Errorf("%+v", got)
	}
}

func TestRestoreWaitsForALock(t *testing.T) {
	snap, live := keptAndLost(t)
	sh(t, live, "echo 1 >mail/alice.lock")
	got, err := Restore(t.Context(), RestoreOptions{Snap: snap, Live: live, Paths: []string{"mail"}, Patience: time.Millisecond})
	if err != nil || fmt.Sprint(got.Locked, got.Mailboxes) != "[mail/alice] [mail/bob]" {
		t.Errorf("%+v %v", got, err)
	}
	if read(t, live+"/mail/alice") != mail(3) || read(t, live+"/mail/alice.lock") != "1\n" {
		t.Error("a mailbox that another has locked was written, or its lock taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Restore(ctx, RestoreOptions{Snap: snap, Live: live, Paths: []string{"mail"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// Killed anywhere, mail comes, and it is done again: everything is there once.
func TestRestoreDiesAnywhere(t *testing.T) {
	for n := 1; ; n++ {
		snap, live := keptAndLost(t)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("SHARE_TEST_DIE=restore:%d:%s:%s", n, snap, live))
		out, err := cmd.CombinedOutput()
		if err == nil {
			if n < 30 {
				t.Fatalf("it has %d effects", n)
			}
			return
		}
		if !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
			t.Fatalf("%v: %s", err, out)
		}
		if _, err := FinishRestore(live); err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		if err := deliver(live, 1); err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		text := read(t, live+"/mail/alice")
		if strings.Count(text, mail(3)) != 1 || strings.Contains(text, "\x00") || strings.Count(text, mail(1001)) != 1 {
			t.Fatalf("after %d the mailbox holds\n%q", n, text)
		}
		if _, err := Restore(t.Context(), RestoreOptions{Snap: snap, Live: live, Paths: []string{"mail", "spool"}, Aside: "then"}); err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		text = read(t, live+"/mail/alice")
		if text != mail(1)+mail(2)+mail(3)+mail(1001) {
			t.Fatalf("after %d the mailbox holds\n%q", n, text)
		}
		if err := os.WriteFile(live+"/mail/alice", []byte(strings.TrimSuffix(text, mail(1001))), 0); err != nil {
			t.Fatal(err)
		}
		restored(t, live)
		if t.Failed() {
			t.Fatalf("after %d", n)
		}
	}
}

// deliver puts n messages into alice's mailbox as a program does that knows of
// locks.
func deliver(live string, n int) error {
	dir, err := os.Open(live + "/mail")
	if err != nil {
		return err
	}
	defer dir.Close()
	for i := range n {
		box, err := lockMailbox(&restoring{o: RestoreOptions{Patience: 20 * time.Second}}, dir, "alice")
		if err != nil {
			return err
		}
		end, err := box.f.Seek(0, 2)
		if err == nil {
			_, err = box.f.WriteAt([]byte(mail(1001+i)), end)
		}
		if err := errors.Join(err, box.unlock()); err != nil {
			return err
		}
	}
	return nil
}

// Mail that comes all the time while the mailbox is truncated and restored.
func TestRestoreWhileMailComes(t *testing.T) {
	snap, live := keptAndLost(t)
	const n = 200
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("SHARE_TEST_DIE=deliver:%d:x:%s", n, live))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for more := true; more; {
		select {
		case err := <-ended:
			if more = false; err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
		default:
		}
		if _, err := Restore(t.Context(), RestoreOptions{Snap: snap, Live: live, Paths: []string{"mail/alice"}, Patience: 20 * time.Second}); err != nil {
			t.Fatal(err)
		}
		// As a reader does that drops what it has read.
		dir, err := os.Open(live + "/mail")
		if err != nil {
			t.Fatal(err)
		}
		box, err := lockMailbox(&restoring{o: RestoreOptions{Patience: 20 * time.Second}}, dir, "alice")
		if err != nil {
			t.Fatal(err)
		}
		text := read(t, live+"/mail/alice")
		text = strings.TrimPrefix(text, mail(1)+mail(2))
		if err := errors.Join(os.WriteFile(live+"/mail/alice", []byte(text), 0), box.unlock(), dir.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Restore(t.Context(), RestoreOptions{Snap: snap, Live: live, Paths: []string{"mail/alice"}}); err != nil {
		t.Fatal(err)
	}
	want := mail(1) + mail(2) + mail(3)
	for i := range n {
		want += mail(1001 + i)
	}
	if got := read(t, live+"/mail/alice"); got != want {
		t.Errorf("the mailbox holds %d bytes and should hold %d", len(got), len(want))
	}
}

// A message that is read, and one that comes, at the worst moment.
func TestRestoreBetweenTwoLooks(t *testing.T) {
	asRoot(t)
	for _, at := range []int{1, 2, 3} {
		snap, live := t.TempDir(), t.TempDir()
		for _, dir := range []string{snap, live} {
			sh(t, dir, "mkdir -p m/cur m/new m/tmp mh; touch mh/.mh_sequences; echo one >m/new/1.host; echo two >mh/2")
		}
		sh(t, snap, "echo three >mh/3")
		n := 0
		onLook = func() {
			if n++; n == at {
				sh(t, live, "mv m/new/1.host m/cur/1.host:2,S")
			}
			if n == 4 {
				sh(t, live, "echo came >mh/3")
			}
		}
		_, err := Restore(t.Context(), RestoreOptions{Snap: snap, Live: live, Paths: []string{"m", "mh"}, Aside: "now"})
		onLook = nil
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("bash", "-c", "cd "+live+"; find m mh -type f | sort; cat mh/[0-9]*").Output()
		if want := "m/cur/1.host:2,S\nmh/.mh_sequences\nmh/2\nmh/3\nmh/4\ntwo\ncame\nthree\n"; err != nil || string(out) != want {
			t.Errorf("at %d: %v\n%s", at, err, out)
		}
	}
}

// Folders that are delivered into and read while they are restored: every
// message is there once.
func TestRestoreOfFoldersInUse(t *testing.T) {
	asRoot(t)
	snap, live := t.TempDir(), t.TempDir()
	const old, fresh = 300, 100
	for _, dir := range []string{snap, live} {
		sh(t, dir, "mkdir -p m/cur m/new m/tmp mh; touch mh/.mh_sequences")
	}
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	for i := range old {
		write(fmt.Sprintf("%s/m/new/%d.host", snap, i), mail(i))
		write(fmt.Sprintf("%s/mh/%d", snap, i+1), mail(i))
		if i%2 == 0 { // the others are eaten
			write(fmt.Sprintf("%s/m/new/%d.host", live, i), mail(i))
		}
	}
	var users sync.WaitGroup
	use := func(f func()) { users.Add(1); go func() { defer users.Done(); f() }() }
	use(func() { // a reader
		for i := 0; i < old; i += 2 {
			a, b, c := fmt.Sprintf("%s/m/new/%d.host", live, i), fmt.Sprintf("%s/m/cur/%d.host:2,", live, i), fmt.Sprintf("%s/m/cur/%d.host:2,S", live, i)
			if err := errors.Join(os.Rename(a, b), os.Rename(b, c)); err != nil {
				t.Error(err)
			}
		}
	})
	use(func() {
		for i := range fresh {
			tmp := fmt.Sprintf("%s/m/tmp/%d.host", live, old+i)
			write(tmp, mail(old+i))
			if err := os.Rename(tmp, fmt.Sprintf("%s/m/new/%d.host", live, old+i)); err != nil {
				t.Error(err)
			}
		}
	})
	use(func() { // inc(1): the next number, by a link
		for i := range fresh {
			tmp := live + "/mh/,incoming"
			write(tmp, mail(old+i))
			for n := 1; ; n++ {
				if err := os.Link(tmp, fmt.Sprintf("%s/mh/%d", live, n)); err == nil {
					break
				} else if !errors.Is(err, fs.ErrExist) {
					t.Error(err)
					return
				}
			}
			os.Remove(tmp)
		}
	})
	o := RestoreOptions{Snap: snap, Live: live, Paths: []string{"m", "mh"}, Aside: "now"}
	_, err := Restore(t.Context(), o)
	users.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"/m/*/*", "/mh/[0-9]*"} {
		seen := map[string]int{}
		files, _ := filepath.Glob(live + folder)
		for _, file := range files {
			seen[read(t, file)]++
		}
		for i := range old + fresh {
			if n := seen[mail(i)]; n != 1 {
				t.Errorf("%s: message %d is there %d times", folder, i, n)
			}
		}
		if len(files) != old+fresh {
			t.Errorf("%s: %d messages", folder, len(files))
		}
	}
}

// The spool directory is exchanged for a link at each effect of a restore,
// between what was looked at and what is done: nothing of what it leads to
// changes.
func TestRestoreOfASpoolThatBecomesALink(t *testing.T) {
	for at := 1; ; at++ {
		snap, live := keptAndLost(t)
		outside := t.TempDir()
		sh(t, outside, "cp -a "+live+"/mail/. .; echo canary >shadow; touch -d @1000000000 *")
		list := func() string {
			out, err := exec.Command("sh", "-c", "cd "+outside+" && find . -type f -printf '%p %s %m %T@\\n' | sort; find . -type f | sort | xargs cat | sha256sum").CombinedOutput()
			if err != nil {
				t.Fatal(err)
			}
			return string(out)
		}
		before, n := list(), 0
		onEffect = func(string) {
			if n++; n == at {
				sh(t, live, "mv mail moved; ln -s "+outside+" mail")
			}
		}
		_, err := Restore(t.Context(), RestoreOptions{Snap: snap, Live: live, Paths: []string{"mail"}, Aside: "x", Patience: time.Millisecond})
		onEffect = nil
		if after := list(); after != before {
			t.Fatalf("at effect %d the restore (%v) wrote through the link:\n%s\nwas\n%s", at, err, after, before)
		}
		if n < at {
			if at < 5 {
				t.Errorf("only %d effects", n)
			}
			return
		}
	}
}
