package reconcile

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"beadm/be"
	"beadm/be/rooted"
)

// What somebody changes in a boot environment that runs while a sync into it is
// under way is not lost, at whatever moment.
func TestChangedWhileASyncRuns(t *testing.T) {
	var effects []string
	make := func(t *testing.T) (*world, Switch) {
		w := quickWorld(t)
		w.write("OLD", "etc/beadm/synclist", "/etc/motd\n/etc/mode\n/etc/tree MERGE\n/etc/log APPEND\n")
		for _, f := range []string{"etc/motd", "etc/mode", "etc/log", "etc/tree/a", "etc/tree/gone", "etc/tree/linked"} {
			w.write("OLD", f, "1\n")
		}
		w.ok(os.Link(w.path("OLD", "etc/tree/linked"), w.path("OLD", "etc/tree/linked2")))
		w.begin("OLD")
		w.clone("OLD", "NEW", true)
		w.switchTo("OLD", "NEW", false)
		w.write("NEW", "etc/motd", "there\n")
		w.write("NEW", "etc/tree/a", "there\n")
		w.write("NEW", "etc/tree/new", "there\n")
		w.write("NEW", "etc/tree/linked", "there\n")
		w.write("NEW", "etc/tree/linked2", "there\n")
		w.ok(os.Remove(w.path("NEW", "etc/tree/gone")))
		w.write("NEW", "etc/log", "1\nthere\n")
		w.ok(os.Chmod(w.path("NEW", "etc/mode"), 0o600))
		w.edit("NEW", "etc/shadow", "alice:$6", "alice:!$6")
		w.ok(w.a.EndRun(t.Context(), w.id("NEW"), w.root("NEW"), false))
		w.begin("OLD")
		return w, Switch{From: w.id("NEW"), To: w.id("OLD"), ToRoot: w.root("OLD")}
	}
	w, sw := make(t)
	w.a.cut = func(effect string) error { effects = append(effects, effect); return nil }
	r, err := w.a.Reconcile(t.Context(), sw)
	w.ok(err)
	if c := r.Conflicts(); len(c) > 0 {
		t.Fatalf("undisturbed: %+v", c)
	}
	for i, effect := range effects {
		t.Run(effect, func(t *testing.T) {
			w, sw := make(t)
			n := 0
			files := map[string]string{"etc/motd": "here\n", "etc/tree/a": "here\n", "etc/tree/new": "here\n", "etc/tree/gone": "here\n", "etc/log": "1\nhere\n"}
			w.a.cut = func(string) error {
				if n++; n != i+1 {
					return nil
				}
				w.edit("OLD", "etc/shadow", "dave:$6$dave", "dave:!$6$dave")
				for f, text := range files {
					if f == "etc/tree/a" { // as editors do it
						w.write("OLD", f+".new", text)
						w.ok(os.Rename(w.path("OLD", f+".new"), w.path("OLD", f)))
						continue
					}
					w.write("OLD", f, text)
				}
				return nil
			}
			r, err := w.a.Reconcile(t.Context(), sw)
			w.a.cut = nil
			if err != nil {
				if be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), "again") {
					t.Errorf("%v", err)
				}
				w.has("OLD", "etc/shadow", "dave:!$6$dave:19000:0:99999:7:::")
				if strings.Contains(tree(t, w.root("OLD")), rooted.TempPrefix) {
					t.Errorf("left: %s", tree(t, w.root("OLD")))
				}
				if r, err = w.a.Reconcile(t.Context(), sw); err != nil {
					t.Fatalf("again: %v", err)
				}
			}
			w.has("OLD", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
			w.has("OLD", "etc/shadow", "dave:!$6$dave:19000:0:99999:7:::")
			for f := range files {
				if !strings.Contains(w.read("OLD", f), "here\n") {
					t.Errorf("%s: %q, %+v", f, w.read("OLD", f), r.Items)
				}
			}
		})
	}
}

// Who holds the lock of the account files, as passwd(1) does, is waited for, but
// not for ever; it is let go afterwards.
func TestAccountFilesAreLocked(t *testing.T) {
	if dir := os.Getenv("HOLD_PWD_LOCK_OF"); dir != "" {
		root, err := rooted.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = root.LockExisting(pwdLock); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		os.Stdin.Read(make([]byte, 1))
		return
	}
	w := quickWorld(t)
	w.write("OLD", "etc/.pwd.lock", "")
	w.begin("OLD")
	w.clone("OLD", "NEW", true)
	w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
	w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))

	holder := exec.Command(os.Args[0], "-test.run=^TestAccountFilesAreLocked$")
	holder.Env = append(os.Environ(), "HOLD_PWD_LOCK_OF="+w.root("NEW"))
	in, err := holder.StdinPipe()
	w.ok(err)
	out, err := holder.StdoutPipe()
	w.ok(err)
	w.ok(holder.Start())
	if _, err := out.Read(make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	sw := Switch{From: w.id("OLD"), To: w.id("NEW"), ToRoot: w.root("NEW")}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := w.a.Reconcile(ctx, sw); err == nil {
		t.Error("not waited")
	}
	w.has("NEW", "etc/shadow", "alice:$6$alice:19000:0:99999:7:::")
	time.AfterFunc(200*time.Millisecond, func() { in.Close() })
	_, err = w.a.Reconcile(t.Context(), sw)
	w.ok(err)
	w.ok(holder.Wait())
	w.has("NEW", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
}
