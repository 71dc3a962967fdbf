package lxc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"beadm/activate/guest"
)

// What a container sets in its own network, or shares of another's, is nothing for
// a command, which has the host's: that stays as it is, and the command runs.
func TestRunBesideSettingsOfTheKernel(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("Debian's package busybox-static is needed: %v", err)
	}
	const setting = "/proc/sys/net/ipv4/tcp_fin_timeout"
	before, err := os.ReadFile(setting)
	check(t, err)
	path, dir := t.TempDir(), t.TempDir()
	for _, top := range []string{path, dir} {
		for up := top; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
			check(t, os.Chmod(up, 0o755))
		}
	}
	name := fmt.Sprintf("beadm-test-%d", os.Getpid())
	t.Cleanup(func() { os.RemoveAll(filepath.Join(lockDir, filepath.Dir(path))) })
	root := filepath.Join(path, name, "rootfs")
	for _, at := range []string{"bin", "dev", "proc", "sys", "run", "tmp", "etc"} {
		check(t, os.MkdirAll(filepath.Join(root, at), 0o755))
	}
	program, err := os.ReadFile(busybox)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(root, "bin/busybox"), program, 0o755))
	check(t, os.Symlink("busybox", filepath.Join(root, "bin/sh")))
	check(t, os.WriteFile(filepath.Join(path, name, "config"), fmt.Appendf(nil, containerConfig, name, root, "lxc.namespace.share.net = other\n"), 0o644))
	r := New(Config{Path: path, Dir: dir})
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	check(t, err)
	defer out.Close()
	err = r.Run(t.Context(), guest.Guest{Name: name, Runtime: r.Name(), Root: root}, guest.Command{Root: root, Argv: []string{"/bin/busybox", "echo", "it ran"}, Stdout: out, Stderr: out})
	said, _ := os.ReadFile(out.Name())
	if err != nil || string(said) != "it ran\n" {
		t.Errorf("it says %q, %v", said, err)
	}
	if after, _ := os.ReadFile(setting); string(after) != string(before) {
		t.Errorf("the host's is %s and was %s", after, before)
	}
}
