package fbsd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
	"beadm/be/rooted"
)

// lay makes files below a root like FreeBSD's, with a beadm in it, and others.
func lay(t *testing.T, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"boot/defaults/loader.conf": "kernel=\"kernel\"\nloader_conf_dirs=\"/boot/loader.conf.d\"\n",
		"boot/kernel/kernel":        "\x7fELF kernel",
		"boot/kernel/zfs.ko":        "\x7fELF zfs",
		"etc/defaults/rc.conf":      "zfs_bootonce_activate=\"NO\" # Set to YES to make successful bootonce BE permanent\n",
		"usr/lib/beadm/init":        "beadm",
	}
	for name, text := range more {
		files[name] = text
	}
	for name, text := range files {
		if text == "-" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func hook(t *testing.T, dir string) error {
	t.Helper()
	root, err := rooted.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return PutHooks(root)
}

// Each case is constructed after loader.conf(5), rc.conf(5), rc.subr and
// stand/efi/loader/main.c of freebsd-src, main.
func TestCheckRoot(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		kernel string
		says   string
	}{
		"as released":        {nil, "/boot/kernel/kernel", ""},
		"another kernel":     {map[string]string{"boot/loader.conf": "kernel=\"mine\"", "boot/mine/kernel": "\x7fELF", "boot/mine/zfs.ko": "\x7fELF"}, "/boot/mine/kernel", ""},
		"a packed one":       {map[string]string{"boot/kernel/kernel": "-", "boot/kernel/kernel.gz": "\x1f\x8b\x08\x00"}, "/boot/kernel/kernel.gz", ""},
		"no kernel":          {map[string]string{"boot/kernel/kernel": "-"}, "", "/boot/kernel/kernel is missing"},
		"a kernel of zeros":  {map[string]string{"boot/kernel/kernel": "\x00\x00\x00\x00"}, "", "is no kernel's"},
		"an empty kernel":    {map[string]string{"boot/kernel/kernel": ""}, "", "is no kernel's"},
		"a kernel elsewhere": {map[string]string{"boot/loader.conf": "kernel=\"gone\"\n"}, "", "/boot/gone/kernel is missing"},
		"no ZFS":             {map[string]string{"boot/kernel/zfs.ko": "-"}, "", "could not mount its root"},
		"no system":          {map[string]string{"boot/defaults/loader.conf": "-"}, "", "would not take it for a system"},
		"it would confirm":   {map[string]string{"etc/rc.conf": "zfs_enable=YES\nzfs_bootonce_activate=YES\n"}, "", "/etc/rc.conf in it says zfs_bootonce_activate=YES"},
		"last one wins":      {map[string]string{"etc/rc.conf": "zfs_bootonce_activate='yes'\n zfs_bootonce_activate=\"NO\" # no\n"}, "/boot/kernel/kernel", ""},
		"a later file":       {map[string]string{"etc/rc.conf": "zfs_bootonce_activate=NO\n", "etc/rc.conf.d/zfsbe": "zfs_bootonce_activate=on\n"}, "", "/etc/rc.conf.d/zfsbe in it"},
		"a remark":           {map[string]string{"etc/rc.conf": "#zfs_bootonce_activate=YES\n"}, "/boot/kernel/kernel", ""},
		"the hook undone":    {map[string]string{"boot/loader.conf.local": "init_script=\"\"\n"}, "", "beadm boot would not be run in it"},
	} {
		dir := lay(t, c.files)
		if err := hook(t, dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		kernel, err := CheckRoot(t.Context(), dir)
		switch {
		case c.says == "" && (err != nil || kernel != c.kernel):
			t.Errorf("%s: %q %v, want %q", name, kernel, err, c.kernel)
		case c.says != "" && (be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func TestARootWithoutTheHookIsRefused(t *testing.T) {
	dir := lay(t, nil)
	if _, err := CheckRoot(t.Context(), dir); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "beadm setup DIR") {
		t.Errorf("%v", err)
	}
	if err := hook(t, dir); err != nil {
		t.Fatal(err)
	}
	// One that init(8) could not run ends the boot in single-user mode.
	if err := os.Chmod(filepath.Join(dir, InitScript), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckRoot(t.Context(), dir); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "single-user mode") {
		t.Errorf("%v", err)
	}
}

func TestTheHookIsPutInOnce(t *testing.T) {
	dir := lay(t, map[string]string{"boot/loader.conf": "beastie_disable=\"YES\"\n"})
	if err := hook(t, dir); err != nil {
		t.Fatal(err)
	}
	first, err := os.Stat(filepath.Join(dir, loaderConf))
	if err != nil {
		t.Fatal(err)
	}
	if err := hook(t, dir); err != nil {
		t.Fatal(err)
	}
	second, err := os.Stat(filepath.Join(dir, loaderConf))
	if err != nil || !os.SameFile(first, second) {
		t.Errorf("it was written again: %v", err)
	}
	if have, _ := os.ReadFile(filepath.Join(dir, "boot/loader.conf")); string(have) != "beastie_disable=\"YES\"\n" {
		t.Errorf("the administrator's file was changed: %q", have)
	}
}

func TestAnotherInitScriptStays(t *testing.T) {
	dir := lay(t, map[string]string{"boot/loader.conf": "init_script=\"/etc/rc.crypt\"\n"})
	if err := hook(t, dir); be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), "/etc/rc.crypt") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, InitScript)); !os.IsNotExist(err) {
		t.Errorf("refused, and written: %v", err)
	}
}

// TestTheHookNeverEndsInSingleUserMode: init(8) goes there when the script
// fails.
func TestTheHookNeverEndsInSingleUserMode(t *testing.T) {
	dir := t.TempDir()
	for name, program := range map[string]string{"mount": "exit 1", "init": "exit 14"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+program+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := strings.NewReplacer("/sbin/mount", filepath.Join(dir, "mount"), "/usr/lib/beadm/init", filepath.Join(dir, "init")).Replace(initScript)
	for _, gone := range []string{"", "init"} {
		if gone != "" {
			os.Remove(filepath.Join(dir, gone))
		}
		if out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput(); err != nil {
			t.Errorf("without %q: %v %s", gone, err, out)
		}
	}
}
