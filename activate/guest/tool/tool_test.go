//go:build unix

package tool

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
)

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestAsk(t *testing.T) {
	t.Setenv("BEADM_TEST_SECRET", "x")
	out, err := Host{}.Ask(t.Context(), sh("echo a; echo b >&2; env"))
	if err != nil || !strings.HasPrefix(out, "a\n") || strings.Contains(out, "BEADM_TEST_SECRET") {
		t.Errorf("it says %q, %v", out, err)
	}
	_, err = Host{}.Ask(t.Context(), sh("printf 'no\\033 such\\n thing' >&2; exit 4"))
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 4 || !strings.HasSuffix(err.Error(), ": no? such thing") {
		t.Errorf("a failure: %v", err)
	}
	if _, err = (Host{}).Ask(t.Context(), []string{"/nonexistent/tool"}); be.KindOf(err) != be.NoStore {
		t.Errorf("no program: %v", err)
	}
	if _, err = (Host{}).Ask(t.Context(), sh("yes")); err == nil {
		t.Error("an answer without end is taken")
	}
}

// No program gets the terminal of this one: it leads a session of its own.
func TestSession(t *testing.T) {
	out, err := Host{}.Ask(t.Context(), sh(`ps -o sid= -p $$; echo $$`))
	if f := strings.Fields(out); err != nil || len(f) != 2 || f[0] != f[1] {
		t.Errorf("session and process are %q, %v", out, err)
	}
}

// What an order leaves behind may go on writing, and is not waited for.
func TestOrderLeavesDaemons(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := exec.Command("mkfifo", pipe).Run(); err != nil {
		t.Fatal(err)
	}
	wrote := filepath.Join(dir, "wrote")
	if err := (Host{}).Order(t.Context(), sh("(read x <"+pipe+"; echo late && echo ok >"+wrote+".new; mv "+wrote+".new "+wrote+"; echo x >"+pipe+") & exit 0")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pipe, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(pipe); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(wrote); err != nil || string(text) != "ok\n" {
		t.Errorf("it could not write: %q, %v", text, err)
	}
}

func TestOrderFails(t *testing.T) {
	err := Host{}.Order(t.Context(), sh("echo one; echo two >&2; exit 1"))
	if err == nil || !strings.HasSuffix(err.Error(), ": one two") {
		t.Errorf("it says %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Host{}).Order(ctx, sh("exit 0")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAttach(t *testing.T) {
	dir := t.TempDir()
	open := func(name, text string) *os.File {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	in, out, errs := open("in", "hello\n"), open("out", ""), open("err", "")
	err := Host{}.Attach(t.Context(), sh(`read x; echo "$x $A"; echo bad >&2; exit 7`), []string{"A=b"}, in, out, errs)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("it says %v", err)
	}
	for f, want := range map[*os.File]string{out: "hello b\n", errs: "bad\n"} {
		if text, err := os.ReadFile(f.Name()); err != nil || string(text) != want {
			t.Errorf("%s holds %q, not %q, %v", f.Name(), text, want, err)
		}
	}
	if err := (Host{}).Attach(t.Context(), sh("read x"), nil, nil, nil, nil); err == nil {
		t.Error("there is something to read")
	}
}
