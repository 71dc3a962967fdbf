//go:build linux

package left

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beadm/be/rooted"
)

// asked opens root and reads its packages.
func asked(t *testing.T, root string, read func(p *packages) error) func(path string) bool {
	t.Helper()
	r, err := rooted.Open(root)
	check(t, err)
	t.Cleanup(func() { r.Close() })
	p, err := readPackages(context.Background(), r)
	check(t, err)
	if read != nil {
		check(t, read(p))
	}
	return func(path string) bool {
		t.Helper()
		owned, err := p.owns(path)
		check(t, err)
		return owned
	}
}

func wantOwned(t *testing.T, owns func(string) bool, want bool, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if owns(p) != want {
			t.Errorf("%s: a package's: %v", p, !want)
		}
	}
}

// recordedRPM is what rpm 4.18.0 answered (rpm -qa --qf, the package's
// rpmFormat) of a package built and installed for the purpose, and the line of
// a package without files.
const recordedRPM = `8 17 8d0d4c8a1e6ab75ae2f81abf1e1e66ce1ab7be53c7b8f245a41907fc45b3a801 /etc/sample/sample.conf
8 0  /usr/lib/sample
8 0  /usr/lib/sample/a b
8 0 73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac /usr/lib/sample/a b/c d
8 0 b57b236c9bcd2a61fcd627b69ae2d7a6eb5bc13f2dc25311348ee08df43bc0c4 /usr/lib/sample/code
8 0  /usr/lib/sample/link
8 0  /var/lib/sample
8 64  /var/lib/sample/data.db
(none) (none) (none) (none)
`

// A locked database holds up nobody for ever.
func TestRPMThatDoesNotEnd(t *testing.T) {
	rpm := filepath.Join(t.TempDir(), "rpm")
	check(t, os.WriteFile(rpm, []byte("#!/bin/sh\nsleep 100 & sleep 100\n"), 0o755))
	defer func(was time.Duration) { rpmPatience = was }(rpmPatience)
	rpmPatience = time.Second / 10
	err := new(packages).askRPM(t.Context(), rpm)
	if err == nil || !strings.Contains(err.Error(), "rpm does not end") {
		t.Errorf("an rpm that hangs: %v", err)
	}
}

func TestRPM(t *testing.T) {
	root := t.TempDir()
	conf := filepath.Join(root, "etc/sample/sample.conf")
	check(t, os.MkdirAll(filepath.Dir(conf), 0o755))
	check(t, os.WriteFile(conf, []byte("conf\n"), 0o644))
	owns := asked(t, root, func(p *packages) error { return p.readRPMFiles(strings.NewReader(recordedRPM)) })
	wantOwned(t, owns, true, "/usr/lib/sample/code", "/usr/lib/sample/a b/c d", "/usr/lib/sample/link", "/etc/sample/sample.conf")
	// A ghost is what a daemon writes where the package says: somebody's data.
	wantOwned(t, owns, false, "/var/lib/sample/data.db", "/usr/lib/sample/other", "/etc/passwd")
	check(t, os.WriteFile(conf, []byte("edited\n"), 0o644))
	wantOwned(t, owns, false, "/etc/sample/sample.conf")
	// Shipped as data, without a word that it will be written to.
	db := filepath.Join(root, "var/lib/sample/first.db")
	check(t, os.MkdirAll(filepath.Dir(db), 0o755))
	check(t, os.WriteFile(db, []byte("conf\n"), 0o644))
	owns = asked(t, root, func(p *packages) error {
		return p.readRPMFiles(strings.NewReader("8 0 8d0d4c8a1e6ab75ae2f81abf1e1e66ce1ab7be53c7b8f245a41907fc45b3a801 /var/lib/sample/first.db\n"))
	})
	wantOwned(t, owns, true, "/var/lib/sample/first.db")
	check(t, os.WriteFile(db, []byte("of years\n"), 0o644))
	wantOwned(t, owns, false, "/var/lib/sample/first.db")
}

// recordedPacman is the file "files" that pacman 6.0.2 wrote of a package made
// and installed for the purpose.
const recordedPacman = "%FILES%\netc/\netc/sample.conf\nusr/\nusr/lib/\nusr/lib/sample/\nusr/lib/sample/code\n\n" +
	"%BACKUP%\netc/sample.conf\tb9a771b420047cfaa3543e66c78f44f6\n\n"

func TestPacman(t *testing.T) {
	root := t.TempDir()
	put(t, root, "/var/lib/pacman/local/sample-1-1/desc", "/etc/sample.conf")
	check(t, os.WriteFile(root+"/var/lib/pacman/local/sample-1-1/files", []byte(recordedPacman), 0o644))
	check(t, os.WriteFile(root+"/etc/sample.conf", []byte("conf\n"), 0o644))
	owns := asked(t, root, nil)
	wantOwned(t, owns, true, "/usr/lib/sample/code", "/etc/sample.conf")
	wantOwned(t, owns, false, "/usr/lib/sample/other", "/usr/lib/sample")
	check(t, os.WriteFile(root+"/etc/sample.conf", []byte("edited\n"), 0o644))
	wantOwned(t, owns, false, "/etc/sample.conf")
}

// A file that a package ships and a daemon then writes to is the daemon's.
func TestDpkgDataThatGrew(t *testing.T) {
	root := t.TempDir()
	put(t, root, "/var/lib/sample/first.db", "/usr/lib/sample/code", "/var/lib/dpkg/status")
	check(t, os.MkdirAll(root+"/var/lib/dpkg/info", 0o755))
	check(t, os.WriteFile(root+"/var/lib/dpkg/info/sample.list", []byte("/usr/lib/sample/code\n/var/lib/sample/first.db\n"), 0o600))
	// printf x | md5sum
	check(t, os.WriteFile(root+"/var/lib/dpkg/info/sample.md5sums",
		[]byte("9dd4e461268c8034f5c8564e155c67a6  usr/lib/sample/code\n9dd4e461268c8034f5c8564e155c67a6  var/lib/sample/first.db\n"), 0o600))
	wantOwned(t, asked(t, root, nil), true, "/var/lib/sample/first.db", "/usr/lib/sample/code")
	for _, p := range []string{"/var/lib/sample/first.db", "/usr/lib/sample/code"} {
		check(t, os.WriteFile(root+p, []byte("of years\n"), 0o600))
	}
	wantOwned(t, asked(t, root, nil), false, "/var/lib/sample/first.db")
	wantOwned(t, asked(t, root, nil), true, "/usr/lib/sample/code")
}
