//go:build linux

package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// Cut anywhere, and then another boot environment runs, from before the
// relocation: it loses nothing of the shared data, and what comes while it
// runs is there when the first one is back.
func TestAnotherBootEnvironmentRunsInTheMiddle(t *testing.T) {
	for _, without := range []string{"", "1"} {
		t.Run("exchange"+without, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				root, ctx := system(t), context.Background()
				rec := t.TempDir() + "/record"
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), fmt.Sprintf("SHARE_TEST_DIE=init:%d:%s:%s", n, rec, root), "SHARE_TEST_NOEXCHANGE="+without)
				out, err := cmd.CombinedOutput()
				killed := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
				if err != nil && !killed {
					t.Fatalf("%v: %s", err, out)
				}
				data, err := os.ReadFile(rec)
				if err != nil {
					continue // before anything
				}
				other := t.TempDir()
				sh(t, other, aSystem)
				must := func(err error) {
					t.Helper()
					if err != nil {
						t.Fatalf("after %d: %v\n%s", n, err, data)
					}
				}
				must(unix.Mount(root+"/var/share", other+"/var/share", "", unix.MS_BIND, ""))
				t.Cleanup(func() { unix.Unmount(other+"/var/share", unix.MNT_DETACH) })
				boots := func(root string, uuid be.UUID, since time.Time) {
					t.Helper()
					if data != nil {
						res, err := Recover(ctx, root, uuid, data, nil)
						must(err)
						data = res.Keep
					}
					_, err := Adopt(ctx, root, root+"/var/share", "linux", since)
					must(err)
					_, err = Arrive(ctx, root, root+"/var/share", time.Now())
					must(err)
				}
				volume := func() string {
					out, _ := exec.Command("find", other+"/var/share", "-type", "f", "-not", "-path", "*/.beadm-new/*").Output()
					return string(out)
				}
				had := volume()
				boots(other, "other", time.Now().Add(time.Hour))
				boots(other, "other", time.Now().Add(time.Hour))
				if got := volume(); got != had {
					t.Fatalf("after %d: the shared dataset held\n%s\nand holds\n%s", n, had, got)
				}
				shared := state(t, other)["/var/mail"] == Linked
				f, err := os.OpenFile(other+"/var/mail/alice", os.O_APPEND|os.O_WRONLY, 0)
				must(err)
				f.WriteString("From b\n")
				f.Close()
				must(os.WriteFile(other+"/var/mail/bob", []byte("From c\n"), 0o600))
				boots(root, "this", time.Time{})
				if data != nil {
					t.Fatalf("after %d: it stays open: %s", n, data)
				}
				for file, want := range map[string]string{"alice": "From a\nFrom b\n", "bob": "From c\n"} {
					if got, _ := os.ReadFile(root + "/var/mail/" + file); shared && string(got) != want {
						t.Fatalf("after %d: %s holds %q, want %q", n, file, got, want)
					}
				}
				if got, _ := os.ReadFile(root + "/var/mail/alice"); !strings.HasPrefix(string(got), "From a\n") {
					t.Fatalf("after %d: alice's mail is %q", n, got)
				}
				unix.Unmount(other+"/var/share", unix.MNT_DETACH)
				unix.Unmount(root+"/var/share", unix.MNT_DETACH)
				if !killed {
					return
				}
			}
		})
	}
}

// exchangingRoot was cut before /var/mail was exchanged: the copy has its name.
func exchangingRoot(t *testing.T) string {
	root := system(t)
	sh(t, root, "cp -a var/mail var/share/mail")
	return root
}

func aRecord(t *testing.T, uuid be.UUID, p phase) []byte {
	t.Helper()
	r := record{Op: "init", BE: uuid, Root: "/nowhere", Phase: p, Names: []string{"mail"}}
	data, err := r.bytes()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRecoverDropsOnlyWhatIsACopy(t *testing.T) {
	ctx := context.Background()
	t.Run("a copy", func(t *testing.T) {
		root := exchangingRoot(t)
		sh(t, root, "echo more >>var/mail/alice; echo b >var/mail/bob")
		res, err := Recover(ctx, root, "this", aRecord(t, "this", exchanging), nil)
		if err != nil || len(res.Aside) != 0 || res.Keep != nil {
			t.Fatal(res, err)
		}
		if list, _ := os.ReadDir(root + "/var/share"); len(list) != 0 {
			t.Errorf("left: %v", list)
		}
	})
	t.Run("more than a copy", func(t *testing.T) {
		for _, more := range []string{"echo x >>var/share/mail/alice", "mkdir -p var/share/mail/d; echo x >var/share/mail/d/x", "ln -sf x var/share/mail/alice"} {
			root := exchangingRoot(t)
			sh(t, root, more)
			held, _ := exec.Command("find", root+"/var/share/mail", "-printf", "%P %l %s\n").Output()
			res, err := Recover(ctx, root, "this", aRecord(t, "this", exchanging), nil)
			if err != nil || len(res.Aside) != 1 || res.Aside[0] != "/var/mail" {
				t.Fatal(more, res, err)
			}
			if got, _ := exec.Command("find", root+"/var/share/"+UndoneDir+"/mail", "-printf", "%P %l %s\n").Output(); !bytes.Equal(got, held) {
				t.Errorf("%s: kept %q of %q", more, got, held)
			}
		}
	})
	t.Run("of an older beadm", func(t *testing.T) {
		root := exchangingRoot(t)
		res, err := Recover(ctx, root, "this", aRecord(t, "", exchanging), nil)
		if err != nil || res.Keep != nil {
			t.Fatal(res, err)
		}
		if _, err := os.Stat(root + "/var/share/mail/alice"); err != nil {
			t.Error(err)
		}
	})
	t.Run("of another", func(t *testing.T) {
		root := exchangingRoot(t)
		for _, running := range []be.UUID{"other", ""} {
			res, err := Recover(ctx, root, running, aRecord(t, "this", exchanging), nil)
			if err != nil || res.Keep == nil || WhileRunning(res.Keep, "this") {
				t.Fatal(res, err)
			}
		}
		if _, err := os.Stat(root + "/var/share/mail/alice"); err != nil {
			t.Error(err)
		}
	})
}

// brokenUnits cannot be started.
type brokenUnits struct{ *processes }

func (u brokenUnits) Start(context.Context, []string) error { return errors.New("it does not come up") }

// A unit that does not come back does not leave the paths in doubt.
func TestUnitThatStaysDown(t *testing.T) {
	root := system(t)
	u, _ := writers(t, root)
	var last []byte
	o := Options{Root: root, BE: "this", OS: "linux", Units: brokenUnits{u}, StopAll: true, Record: func(_ string, s []byte) error { last = s; return nil }}
	if _, err := Init(context.Background(), o); be.KindOf(err) != be.Recovery {
		t.Fatal(err)
	}
	rec, err := parseRecord(last)
	if err != nil || rec.Phase != starting || len(rec.Units) != 4 {
		t.Fatalf("%s %v", last, err)
	}
	// The directory is restored from a backup made before: the mail stays.
	sh(t, root, "rm var/mail; mkdir var/mail; echo live >var/share/mail/live")
	if _, err := Recover(context.Background(), root, "this", last, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root + "/var/share/mail/live"); err != nil {
		t.Error(err)
	}
}
