//go:build linux

package vmtest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tinyInit mounts a btrfs root and nothing else. It ends, so that the kernel
// panics, where it cannot go on.
const tinyInit = `#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
echo "tiny: initramfs"
for m in /modules/*; do insmod $m || exit 1; done
flags= init=
for a in $(cat /proc/cmdline); do
	case $a in
	rootflags=*) flags=${a#rootflags=} ;;
	init=*) init=${a#init=} ;;
	esac
done
i=0
while [ ! -b /dev/vda3 ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done
mount -t btrfs -o rw,$flags /dev/vda3 /new || exit 1
umount /proc
mount -o move /dev /new/dev
echo "tiny: root mounted"
exec switch_root /new ${init:-/sbin/init}
`

// Tiny makes an initramfs of busybox and the modules of the root at dir, which
// comes up in a third of the time of Debian's own.
func Tiny(t testing.TB, dir string) []byte {
	t.Helper()
	releases, _ := filepath.Glob(filepath.Join(dir, "usr/lib/modules/*"))
	if len(releases) != 1 {
		t.Fatalf("wanted one kernel's modules in %s: %q", dir, releases)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v (Debian package busybox-static)", err)
	}
	var a archive
	for _, d := range []string{"bin", "dev", "proc", "new", "modules"} {
		a.add(d, 0o40755, nil)
	}
	a.add("bin/busybox", 0o100755, busybox)
	for _, name := range []string{"sh", "mount", "umount", "cat", "insmod", "sleep", "switch_root"} {
		a.add("bin/"+name, 0o120777, []byte("busybox"))
	}
	a.add("init", 0o100755, []byte(tinyInit))
	for i, m := range inOrder(t, releases[0], "virtio_pci", "virtio_blk", "btrfs") {
		data, err := os.ReadFile(filepath.Join(releases[0], m))
		if err != nil {
			t.Fatal(err)
		}
		a.add(fmt.Sprintf("modules/%02d-%s", i, path.Base(m)), 0o100644, data)
	}
	a.add("TRAILER!!!", 0, nil)
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(a.Bytes())
	w.Close()
	return out.Bytes()
}

// inOrder lists the files of modules, each behind those it needs (modules.dep,
// depmod(8)).
func inOrder(t testing.TB, dir string, names ...string) []string {
	t.Helper()
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	needs, files := map[string][]string{}, map[string]string{}
	for line := range strings.Lines(string(dep)) {
		file, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[file] = strings.Fields(rest)
		files[strings.TrimSuffix(path.Base(file), ".ko")] = file
	}
	var out []string
	var add func(file string)
	add = func(file string) {
		for _, n := range needs[file] {
			add(n)
		}
		if !slices.Contains(out, file) {
			out = append(out, file)
		}
	}
	for _, n := range names {
		if files[n] == "" {
			t.Fatalf("the kernel of %s has no module %s", dir, n)
		}
		add(files[n])
	}
	return out
}

// archive is cpio(5)'s "newc".
type archive struct{ bytes.Buffer }

func (a *archive) add(name string, mode int, data []byte) {
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.Len(), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	a.align()
	a.Write(data)
	a.align()
}

func (a *archive) align() {
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}
