//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	aKernel = "a kernel of its own\n"
	aMenu   = "menuentry of update-grub\n"
)

// addBoot gives the machine a /boot of its own, with a file system mounted below
// it as the ESP is, and a file that it hides.
func (m *machine) addBoot() {
	t := m.t
	t.Helper()
	img := filepath.Join(diskDir(t), "boot.img")
	check(t, os.WriteFile(img, nil, 0o600))
	check(t, os.Truncate(img, 48<<20))
	sh(t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", img)
	m.apart = strings.TrimSpace(sh(t, "losetup", "-f", "--show", img))
	t.Cleanup(func() {
		m.clear()
		exec.Command("losetup", "-d", m.apart).Run()
	})
	fstab := filepath.Join(m.root, "etc/fstab")
	check(t, os.WriteFile(fstab, []byte(read(t, fstab)+"# of the installer\n"+m.apart+"\t/boot\text4   defaults 0 2\n"+m.apart+" /boot/efi ext4 defaults 0 1\n"), 0o640))
	check(t, os.Chmod(fstab, 0o640))
	write(t, filepath.Join(m.root, "boot/hidden"), "below it\n")
	check(t, unix.Mount(m.apart, filepath.Join(m.root, "boot"), "ext4", 0, ""))
	in := func(name string) string { return filepath.Join(m.root, "boot", name) }
	write(t, in("vmlinuz-1"), aKernel)
	check(t, os.Chmod(in("vmlinuz-1"), 0o600))
	check(t, os.Link(in("vmlinuz-1"), in("vmlinuz.same")))
	check(t, os.Symlink("vmlinuz-1", in("vmlinuz")))
	write(t, in("grub/grub.cfg"), aMenu)
	check(t, os.Mkdir(in("efi"), 0o700))
	check(t, unix.Mount(m.apart, in("efi"), "ext4", 0, ""))
}

// mountApart does what a boot does by the root's fstab.
func (m *machine) mountApart() {
	t := m.t
	t.Helper()
	for line := range strings.Lines(read(t, filepath.Join(m.root, "etc/fstab"))) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == m.apart {
			check(t, unix.Mount(m.apart, filepath.Join(m.root, f[1]), "ext4", 0, ""))
		}
	}
	if got := read(t, filepath.Join(m.root, "boot/vmlinuz")); got != aKernel {
		t.Errorf("after a boot /boot/vmlinuz holds %q", got)
	}
}

// bootMoved is what holds once /boot is moved.
func (m *machine) bootMoved() {
	t := m.t
	t.Helper()
	in := func(name string) string { return filepath.Join(m.root, "boot", name) }
	var root, boot, own, same, efi unix.Stat_t
	for at, st := range map[string]*unix.Stat_t{m.root: &root, in("vmlinuz-1"): &boot, in("beadm"): &own, in("vmlinuz.same"): &same, in("efi"): &efi} {
		check(t, unix.Lstat(at, st))
	}
	switch {
	case boot.Dev != root.Dev:
		t.Error("/boot is not in the root file system")
	case boot.Mode != unix.S_IFREG|0o600 || same.Ino != boot.Ino:
		t.Errorf("the kernel has mode %o, and its other name another inode", boot.Mode)
	case own.Dev == root.Dev || efi.Dev != own.Dev:
		t.Error("its file system is not mounted on /boot/beadm, or what was below it not on /boot/efi")
	}
	for file, want := range map[string]string{
		"vmlinuz": aKernel, "grub/grub.cfg": aMenu, "beadm/vmlinuz": aKernel, "beadm/grub/grub.cfg": aMenu, "efi/vmlinuz-1": aKernel,
		"before-beadm/hidden": "below it\n",
	} {
		if got, err := os.ReadFile(in(file)); err != nil || string(got) != want {
			t.Errorf("/boot/%s: %q %v", file, got, err)
		}
	}
	fstab := filepath.Join(m.root, "etc/fstab")
	want := "UUID=" + m.fsid + " / btrfs rw,noatime,subvol=/@debian 0 0\n# of the installer\n" + m.apart + "\t/boot/beadm\text4   defaults 0 2\n" + m.apart + " /boot/efi ext4 defaults 0 1\n"
	if got := read(t, fstab); got != want {
		t.Errorf("/etc/fstab:\n%s", got)
	}
	if info, err := os.Stat(fstab); err != nil || info.Mode() != 0o640 {
		t.Errorf("/etc/fstab: %v %v", info.Mode(), err)
	}
	list, err := os.ReadDir(in("."))
	check(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "beadm before-beadm efi grub vmlinuz vmlinuz-1 vmlinuz.same" {
		t.Errorf("/boot holds %s", got)
	}
}

// TestMoveBoot: a /boot of its own becomes a directory of each boot environment,
// and the loader's file system. What cannot be moved is refused, with nothing
// changed.
func TestMoveBoot(t *testing.T) {
	m := newBareMachine(t)
	stub := []string{"setup", "--loader", "stub", "--loader-dir", m.loader}
	move := append(stub, "--move-boot")
	m.refused(2, "/boot is in the root file system already: leave --move-boot out", move...)
	m.refused(2, "--move-boot is for GRUB", "setup", "--loader", "systemd-boot", "--move-boot")
	m.refused(2, "give no --loader-dir", "setup", "--loader", "grub", "--loader-dir", "/boot/efi", "--move-boot")
	m.refused(2, "for one disk", append(move, "--loader-mirror", "none")...)
	m.addBoot()
	fstab := filepath.Join(m.root, "etc/fstab")
	good := read(t, fstab)
	for _, c := range []struct {
		code        int
		fstab, says string
	}{
		{14, strings.Replace(good, "\t/boot\t", "\t/mnt\t", 1), "no line of /etc/fstab mounts /boot"},
		{14, good + m.apart + " /boot/ ext4\n", "two lines for /boot"},
		{14, good + m.apart + " /boot/beadm ext4\n", "another line for /boot/beadm"},
		{14, strings.Replace(good, "ext4   defaults", "ext4 defaults,x-systemd.automount", 1), "an automount on /boot"},
		{14, strings.Replace(good, m.apart+"\t/boot", "/dev/loop-control\t/boot", 1), "that is not what is mounted"},
		{14, strings.Replace(good, m.apart+"\t/boot", "UUID=6A3F-0001\t/boot", 1), "that is not what is mounted"},
	} {
		check(t, os.WriteFile(fstab, []byte(c.fstab), 0o640))
		m.refused(c.code, c.says, move...)
	}
	check(t, os.WriteFile(fstab, []byte(good), 0o640))

	large := filepath.Join(m.root, "srv/large")
	check(t, os.MkdirAll(filepath.Dir(large), 0o755))
	f, err := os.Create(large)
	check(t, err)
	for unix.Fallocate(int(f.Fd()), 0, 0, 1<<20) == nil {
		info, err := f.Stat()
		check(t, err)
		if unix.Fallocate(int(f.Fd()), 0, info.Size(), 4<<20) != nil {
			break
		}
	}
	check(t, f.Close())
	m.refused(1, "MiB free: make room in it", move...)
	check(t, os.Remove(large))
	sh(t, "sync", "-f", m.root)

	if r := m.run("check"); !strings.Contains(r.out, "-> beadm setup --move-boot gives each") {
		t.Errorf("check does not name the move: %v", r)
	}
	before := m.snapshotWorld()
	r := m.run(append(move, "-n")...)
	if r.code != 0 || !strings.Contains(r.out, "would copy /boot, 1 MiB, into the directory /boot") || !strings.Contains(r.out, "would mount the file system of /boot on /boot/beadm, by /etc/fstab too") {
		t.Errorf("%v", r)
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("a dry run changed\n%s", differ(before, after))
	}
	// Who has something open there keeps it.
	held, err := os.Open(filepath.Join(m.root, "boot/vmlinuz-1"))
	check(t, err)
	r = m.run(move...)
	held.Close()
	if r.code != 0 || !strings.Contains(r.err, "is kept in /boot/before-beadm") {
		t.Fatal(r)
	}
	m.bootMoved()
	if r := m.run("check"); strings.Contains(r.out, "--move-boot") {
		t.Errorf("check still names the move: %v", r)
	}
	m.ok(move...) // once more
	m.ok(stub...)
	m.bootMoved()

	// Each boot environment has its own from now on.
	m.ok("create", "new")
	write(t, filepath.Join(m.root, "boot/vmlinuz-2"), "newer\n")
	check(t, os.Remove(filepath.Join(m.root, "boot/vmlinuz-2")))
	m.ok("activate", "new")
	m.comeUp()
	m.is("trying", "new", "debian")
	if got := read(t, filepath.Join(m.top, "@be-new/boot/vmlinuz")); got != aKernel {
		t.Errorf("new holds %q", got)
	}
}
