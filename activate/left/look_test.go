//go:build linux

package left

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

func put(t *testing.T, root string, paths ...string) {
	t.Helper()
	for _, p := range paths {
		check(t, os.MkdirAll(filepath.Dir(root+p), 0o755))
		check(t, os.WriteFile(root+p, []byte("x"), 0o600))
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (l Look) is(t *testing.T, want ...string) {
	t.Helper()
	places, err := l.Places(context.Background())
	check(t, err)
	var got []string
	for _, p := range places {
		got = append(got, p.Path)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("left behind: %q, wanted %q", got, want)
	}
}

// somebodyElses mounts what is no boot environment's.
func somebodyElses(t *testing.T, dir string) {
	t.Helper()
	check(t, os.MkdirAll(dir, 0o755))
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting takes root")
	}
	check(t, unix.Mount("x", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// opened says whether dirs were opened while f ran.
func opened(t *testing.T, f func(), dirs ...string) bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	check(t, err)
	defer unix.Close(fd)
	for _, dir := range dirs {
		_, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN|unix.IN_ACCESS)
		check(t, err)
	}
	f()
	n, _ := unix.Read(fd, make([]byte, 4096))
	return n > 0
}

// A user's deep directories are said and do not end the look.
func TestDeep(t *testing.T) {
	old, next := t.TempDir(), t.TempDir()
	check(t, os.MkdirAll(next+"/home/eve", 0o755))
	check(t, os.MkdirAll(old+"/home/eve", 0o755))
	check(t, os.MkdirAll(old+"/tmp", 0o755))
	for _, dir := range []string{old + "/home/eve", old + "/tmp"} {
		fd, err := unix.Open(dir, unix.O_DIRECTORY, 0)
		check(t, err)
		for range rooted.MaxDepth + 20 {
			check(t, unix.Mkdirat(fd, "d", 0o755))
			n, err := unix.Openat(fd, "d", unix.O_DIRECTORY, 0)
			check(t, err)
			unix.Close(fd)
			fd = n
		}
		unix.Close(fd)
	}
	put(t, old, "/srv/z/data")
	Look{Old: old, New: next}.is(t, "/home/eve", "/srv/z/data")
}

// A link to what is mounted from elsewhere does not lead there: a server that
// is down would hold the look, and the lock with it.
func TestLinkIntoForeignMount(t *testing.T) {
	old, next := t.TempDir(), t.TempDir()
	somebodyElses(t, old+"/mnt/nfs")
	check(t, os.MkdirAll(old+"/mnt/nfs/deep", 0o755))
	check(t, os.MkdirAll(old+"/home/u", 0o755))
	check(t, os.Symlink("/mnt/nfs/deep/file", old+"/home/u/link"))
	check(t, os.Symlink("../../mnt/nfs", old+"/home/u/top"))
	// Shared data, which is mounted, too.
	somebodyElses(t, old+Shared)
	put(t, old, Shared+"/mail/u")
	check(t, os.Symlink("../../var/share/mail/u", old+"/home/u/mbox"))
	if opened(t, func() { Look{Old: old, New: next}.is(t, "/home/u") }, old+"/mnt/nfs", old+"/mnt/nfs/deep") {
		t.Error("directories of a foreign mount were opened")
	}
}

// Nor is it asked where it is mounted in the other root.
func TestForeignMountInTheOther(t *testing.T) {
	old, next := t.TempDir(), t.TempDir()
	put(t, old, "/mnt/nfs/deep/before")
	time.Sleep(20 * time.Millisecond)
	since := time.Now()
	time.Sleep(20 * time.Millisecond)
	put(t, old, "/mnt/nfs/deep/file", "/srv/in/file")
	somebodyElses(t, next+"/mnt/nfs")
	put(t, next, "/mnt/nfs/deep/file")
	check(t, os.Symlink("mnt/nfs", next+"/srv"))
	if opened(t, func() { Look{Old: old, New: next, Since: since}.is(t, "/mnt/nfs/deep/file", "/srv/in/file") }, next+"/mnt/nfs", next+"/mnt/nfs/deep") {
		t.Error("directories of a foreign mount were opened")
	}
}

// A package's file is one, where /var is a partition of its own, too.
func TestPackagesOfAVarOfItsOwn(t *testing.T) {
	old, next := t.TempDir(), t.TempDir()
	somebodyElses(t, old+"/var")
	put(t, old, "/usr/bin/tool", "/usr/bin/mine")
	put(t, old, "/var/lib/dpkg/status")
	check(t, os.MkdirAll(old+"/var/lib/dpkg/info", 0o755))
	check(t, os.WriteFile(old+"/var/lib/dpkg/info/tool.list", []byte("/usr/bin/tool\n"), 0o600))
	Look{Old: old, New: next}.is(t, "/usr/bin/mine")
}

// What was passed over once, with reasons that were not true.
func TestNotPassedOver(t *testing.T) {
	old, next := t.TempDir(), t.TempDir()
	since := time.Now().Add(-time.Hour)
	put(t, old, strings.Fields("/var/lib/systemd/linger/alice /var/lib/systemd/credential.secret /var/lib/systemd/random-seed /var/lib/tpm2-tss/system/keystore/key/object.json "+
		"/var/backups/mysql/shop.sql.gz /var/backups/etcd/snap.db /var/backups/dpkg.status.0 /var/spool/rsyslog/fwd_queue.00000001 "+
		"/var/lib/apache2/md/accounts/ACME/key.pem /var/lib/nginx/webdav/report.doc /var/lib/sss/secrets/secrets.ldb")...)
	Look{Old: old, New: next, Since: since}.is(t, "/var/lib/systemd", "/var/lib/tpm2-tss/system/keystore/key/object.json",
		"/var/backups/mysql/shop.sql.gz", "/var/backups/etcd/snap.db", "/var/spool/rsyslog/fwd_queue.00000001",
		"/var/lib/apache2/md/accounts/ACME/key.pem", "/var/lib/nginx/webdav/report.doc", "/var/lib/sss/secrets/secrets.ldb")
}
