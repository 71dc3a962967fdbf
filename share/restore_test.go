//go:build linux

package share

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
