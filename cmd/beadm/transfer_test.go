//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func (m *machine) cmd(args ...string) *exec.Cmd {
	cmd := exec.Command(m.beadm, append([]string{"--root", m.root}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	return cmd
}

// feed runs beadm with a file as its standard input.
func (m *machine) feed(file string, args ...string) result {
	m.t.Helper()
	in, err := os.Open(file)
	check(m.t, err)
	defer in.Close()
	cmd := m.cmd(args...)
	cmd.Stdin = in
	return start(m.t, cmd)
}

// fails is refused for what no dry run can know.
func (m *machine) fails(code int, says string, args ...string) {
	m.t.Helper()
	before := m.snapshotWorld()
	r := m.run(args...)
	if r.code != code || r.out != "" || !strings.Contains(r.err, says) || strings.Count(r.err, "\n") != 1 {
		m.t.Errorf("wanted: exit %d, and one sentence with %q\n%v", code, says, r)
	}
	if after := m.snapshotWorld(); after != before {
		m.t.Errorf("%v changed\n%s", r, differ(before, after))
	}
}

// exported is a stream of a boot environment, in a file.
func (m *machine) exported(what string) string {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "stream")
	m.ok("export", "-f", file, what)
	return file
}

// bash runs a script in a directory.
func bash(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("bash", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// What is exported is imported again, as another boot environment, which can be
// activated and boots.
func TestExportAndImport(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "-d", "the patched one", "patched")
	dir := strings.TrimSpace(m.ok("mount", "patched"))
	write(t, filepath.Join(dir, "usr/lib/os"), "2\n")
	m.ok("unmount", "patched")
	cmd := m.cmd("export", "patched")
	var stream bytes.Buffer
	cmd.Stdout = &stream
	check(t, cmd.Run())
	file := filepath.Join(t.TempDir(), "stream")
	check(t, os.WriteFile(file, stream.Bytes(), 0o600))
	if out := m.ok("list", "-s"); strings.Contains(out, "beadm-export") {
		t.Errorf("the snapshot that was exported is left: %s", out)
	}
	m.ok("destroy", "-F", "patched")
	if r := m.feed(file, "import", "again"); r.code != 0 || r.out != "" {
		t.Fatal(r)
	}
	if out := m.ok("--json", "list", "again"); !strings.Contains(out, "the patched one") {
		t.Errorf("its description is gone: %s", out)
	}
	m.ok("activate", "again")
	m.comeUp()
	m.is("trying", "again", "debian")
	if got := read(t, filepath.Join(m.root, "usr/lib/os")); got != "2\n" {
		t.Errorf("it runs with %q", got)
	}
	m.refused(4, "during a trial", "export", "again")
	m.refused(4, "during a trial", "import", "-f", file, "more")
}

// A snapshot is exported as it was, to a file that was not there.
func TestExportOfASnapshot(t *testing.T) {
	m := newMachine(t)
	host := filepath.Join(m.root, "etc/hostname")
	write(t, host, "before\n")
	m.ok("snapshot", "debian@then")
	write(t, host, "after\n")
	file := m.exported("debian@then")
	m.refused(4, "exists already: name another file", "export", "-f", file, "debian")
	m.ok("import", "-f", file, "old")
	dir := strings.TrimSpace(m.ok("mount", "-s", "ro", "old"))
	if got := read(t, filepath.Join(dir, "etc/hostname")); got != "before\n" {
		t.Errorf("it holds %q", got)
	}
	m.ok("unmount", "old")
	if out := m.ok("list", "-s"); !strings.Contains(out, "debian@then") {
		t.Errorf("the snapshot is gone: %s", out)
	}
}

// What was built offline is imported as it is, whatever it is packed in, and has
// this root in its fstab.
func TestImportOfWhatWasBuiltOffline(t *testing.T) {
	m := newMachine(t)
	offline := t.TempDir()
	bash(t, m.root, "tar --one-file-system --exclude=./var/share --exclude=./proc --exclude=./run -cf - . | tar -xpf - -C "+offline)
	write(t, filepath.Join(offline, "etc/fstab"), "# the builder's\nUUID=1111-2222 / ext4 errors=remount-ro 0 1\n/dev/nosuch-data /data ext4 defaults 0 2\n")
	write(t, filepath.Join(offline, "usr/lib/os"), "offline\n")
	box := t.TempDir()
	bash(t, offline, "tar -cf "+box+"/a.tar . ; cd "+box+"; gzip -k a.tar; xz -0 -k a.tar; zstd -q -1 -k a.tar; bzip2 -1 -k a.tar")
	bash(t, box, "truncate -s 200M ext4.img; mkfs.ext4 -q -d "+offline+" ext4.img; truncate -s 220M disk.img; sgdisk -a 2048 -n1:2048:+10M -n2:22528:0 disk.img >/dev/null; dd if=ext4.img of=disk.img bs=1M seek=11 conv=notrunc,sparse status=none")
	want := ""
	for i, from := range []string{"a.tar", "a.tar.gz", "a.tar.xz", "a.tar.zst", "a.tar.bz2", "", "ext4.img", "disk.img"} {
		name := "n" + string(rune('a'+i))
		from = filepath.Join(box, from)
		if from == box {
			from = offline
		}
		r := m.run("import", "-f", from, name)
		if r.code != 0 {
			t.Errorf("%s: %v", from, r)
			continue
		}
		if !strings.Contains(r.err, "mounts /data from /dev/nosuch-data, which is not here") {
			t.Errorf("%s: nothing is said of what is not here: %q", from, r.err)
		}
		dir := strings.TrimSpace(m.ok("mount", "-s", "ro", name))
		fstab := read(t, filepath.Join(dir, "etc/fstab"))
		if !strings.Contains(fstab, "/ btrfs defaults,subvol=/@be-"+name) || !strings.Contains(fstab, "/data ext4") || strings.Contains(fstab, "1111-2222") {
			t.Errorf("%s: its fstab is %s", from, fstab)
		}
		out, err := exec.Command("bash", "-c", "cd "+dir+" && find . -path ./etc/fstab -prune -o -path ./lost+found -prune -o -path ./etc -prune -o -path . -prune -o -printf '%p %y %m %U %G %s %l\\n' | sort | sed 's/ d \\([0-9]* [0-9]* [0-9]*\\) [0-9]*/ d \\1/'").CombinedOutput()
		check(t, err)
		if want == "" {
			want = string(out)
		}
		if string(out) != want {
			t.Errorf("%s holds\n%s\nnot\n%s", from, out, want)
		}
		m.ok("unmount", name)
		if i%5 == 0 {
			m.ok("activate", name)
			m.ok("activate", "-T")
		}
		m.ok("destroy", "-F", name)
	}
	if out, _ := exec.Command("losetup", "-j", filepath.Join(box, "disk.img")).Output(); len(out) > 0 {
		t.Errorf("a loop device is left: %s", out)
	}
}

// What cannot be imported leaves nothing, and what is wrong is said.
func TestBadImports(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	file := m.exported("new")
	whole, err := os.ReadFile(file)
	check(t, err)
	box := t.TempDir()
	put := func(name string, data []byte) string {
		path := filepath.Join(box, name)
		check(t, os.WriteFile(path, data, 0o600))
		return path
	}
	for _, at := range []int{1, 512, 3000, len(whole) / 3, len(whole) - 1100, len(whole) - 1} {
		code := 12
		if at < 262 {
			code = 2 // not even one header: it could be anything
		}
		m.fails(code, "", "import", "-f", put("cut", whole[:at]), "x")
	}
	m.fails(12, "it is cut off: its end is missing; everything was undone", "import", "-f", put("cut", whole[:len(whole)/2]), "x")
	changed := bytes.Clone(whole)
	changed[len(whole)/2] ^= 1
	m.fails(12, "its sum is another one; everything was undone", "import", "-f", put("changed", changed), "x")
	bash(t, box, "gzip -c "+file+" > whole.gz; head -c 5000 whole.gz > cut.gz; zstd -q -c "+file+" | head -c 5000 > cut.zst; xz -0 -c "+file+" | head -c 5000 > cut.xz; mkdir empty; mkdir -p evil; cd evil; tar -P --transform 's,x,../../x,' -cf ../evil.tar --files-from /dev/null; touch x; tar -P --transform 's,x,../../victim,' -cf ../evil.tar x; tar -cf ../nothing.tar --files-from /dev/null")
	for _, name := range []string{"cut.gz", "cut.zst", "cut.xz"} {
		m.fails(12, "it is cut off", "import", "-f", filepath.Join(box, name), "x")
	}
	m.fails(12, "its name leads out", "import", "-f", filepath.Join(box, "evil.tar"), "x")
	m.fails(12, "there is nothing in it", "import", "-f", filepath.Join(box, "empty"), "x")
	m.refused(2, "it is no export", "import", "-f", filepath.Join(box, "nothing.tar"), "x")
	m.refused(2, "it is no export", "import", "-f", put("text", bytes.Repeat([]byte("text"), 1000)), "x")
	m.refused(2, "there is nothing in it", "import", "-f", put("none", nil), "x")
	m.fails(2, "there is nothing in it", "import", "x") // /dev/null
	m.refused(2, "-f is empty", "import", "-f", "", "x")
	m.refused(3, "no such file", "import", "-f", filepath.Join(box, "missing"), "x")
	m.fails(3, "no such file", "import", "-n", "-f", filepath.Join(box, "missing"), "x")
	m.fails(2, "holds the boot environments themselves", "import", "-f", m.top, "x")
	m.refused(4, "exists already", "import", "-f", filepath.Join(box, "missing"), "new")
	m.refused(2, "nosuch", "import", "-o", "nosuch=1", "-f", file, "x")
	m.refused(2, "name", "import", "-f", file, "a/b")
	m.refused(2, "one argument", "import", "-f", file)
	zfs := make([]byte, 4096)
	copy(zfs[8:], "\xac\xcb\xba\xf5\x02\x00\x00\x00")
	m.refused(10, "it is a stream of ZFS", "import", "-f", put("zfs", zfs), "x")

	m.fails(3, "there is no boot environment", "export", "-n", "missing")
	m.fails(3, "there is no snapshot", "export", "-n", "new@missing")
	m.refused(2, "names no snapshot", "export", "new@")
	m.fails(2, "with --json give -f FILE", "--json", "export", "new")
	m.refused(2, "-f is empty", "export", "-f", "", "new")
	m.fails(1, "cannot write /nosuch/file", "export", "-f", "/nosuch/file", "new")
}

// Whoever reads a stream and goes away ends the export, and nothing is left.
func TestExportToNobody(t *testing.T) {
	m := newMachine(t)
	m.exported("debian")
	before := m.snapshotWorld()
	r, w, err := os.Pipe()
	check(t, err)
	cmd := m.cmd("export", "debian")
	cmd.Stdout = w
	check(t, cmd.Start())
	w.Close()
	_, err = r.Read(make([]byte, 100))
	check(t, err)
	r.Close()
	if cmd.Wait() == nil {
		t.Error("it ended well")
	}
	if after := m.snapshotWorld(); after != before {
		t.Errorf("it changed\n%s", differ(before, after))
	}
}

// An export that stalls can be interrupted, and what one that was killed leaves
// the next command takes away.
func TestExportCutShort(t *testing.T) {
	m := newMachine(t)
	m.exported("debian")
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		before := m.snapshotWorld()
		r, w, err := os.Pipe()
		check(t, err)
		cmd := m.cmd("export", "debian")
		cmd.Stdout = w
		check(t, cmd.Start())
		w.Close()
		_, err = r.Read(make([]byte, 100)) // it is at work, and the rest does not fit
		check(t, err)
		check(t, cmd.Process.Signal(sig))
		cmd.Wait()
		r.Close()
		if code := cmd.ProcessState.ExitCode(); sig == syscall.SIGINT && code != 130 {
			t.Errorf("interrupted, it ended with %d", code)
		}
		if sig == syscall.SIGKILL {
			m.ok("recover")
		}
		if after := m.snapshotWorld(); after != before {
			t.Errorf("%v changed\n%s", sig, differ(before, after))
		}
		m.run("status") // looks for what is mounted
	}
}

// bectl's export and import are its own: silent, and with its numbers.
func TestBectlStreams(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	file := filepath.Join(t.TempDir(), "stream")
	out, err := os.Create(file)
	check(t, err)
	defer out.Close()
	says := func(in string, code int, words string, args ...string) {
		t.Helper()
		cmd := m.cmd(append([]string{"--dialect", "bectl"}, args...)...)
		var errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = out, &errs
		if in != "" {
			f, err := os.Open(in)
			check(t, err)
			defer f.Close()
			cmd.Stdin = f
		}
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(errs.String(), words) || (words == "") != (errs.Len() == 0) {
			t.Errorf("bectl %q ended with %d: %q", args, got, errs.String())
		}
	}
	says("", 0, "", "export", "new")
	if info, err := os.Stat(file); err != nil || info.Size() < 10000 {
		t.Errorf("the stream: %v, %v", info, err)
	}
	says(file, 0, "", "import", "other")
	says(file, 2, "boot environment name already taken", "import", "other")
	says(file, 1, "invalid boot environment name", "import", "a b")
	says("", 3, "specified boot environment does not exist", "export", "missing")
	says("/dev/null", 19, "there is nothing in it", "import", "more")
	if got := m.ok("list", "-H", "--dialect", "bectl"); strings.Count(got, "\n") != 3 {
		t.Errorf("there are\n%s", got)
	}
}

// A disk that is full half way is said, and all of it is free again.
func TestImportOnAFullDisk(t *testing.T) {
	m := newMachine(t)
	box := t.TempDir()
	bash(t, box, "mkdir s; head -c 700M /dev/urandom > s/big; tar -cf a.tar s; rm -r s")
	m.fails(12, "the file system is full", "import", "-f", filepath.Join(box, "a.tar"), "x")
	m.ok("create", "y")
	m.is("idle", "debian", "debian")
}
