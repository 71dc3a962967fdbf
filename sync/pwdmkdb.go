package reconcile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"beadm/be/rooted"
	"beadm/sync/account"
	"beadm/sync/manifest"
)

const masterPasswd = "/etc/master.passwd"

// madeOfMaster are the files that pwd_mkdb(8) makes of master.passwd, with the
// modes it gives them. FreeBSD's libc reads the databases, never the text: a
// lock that is only in master.passwd locks nobody.
var madeOfMaster = []struct {
	path string
	mode uint32
}{{"/etc/passwd", 0o644}, {"/etc/pwd.db", 0o644}, {"/etc/spwd.db", 0o600}}

// rebuild plans the files that are made of master.passwd where that changes,
// or a cut apply may have changed it and not them. Until all is made they are
// in the sync state, which root alone can read.
func (p *planner) rebuild() error {
	if p.goos != "freebsd" {
		return nil
	}
	var master io.ReadCloser
	var err error
	for _, o := range p.ops {
		if o.path == masterPasswd && o.kind == opWrite {
			master, err = o.open()
		}
	}
	if master == nil && err == nil && p.to.Pending.path(masterPasswd) != nil {
		var f *os.File
		f, err = p.root.OpenNoFollow(masterPasswd)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, rooted.ErrNotRegular) {
			return nil
		}
		master = f
	}
	if err != nil || master == nil {
		return err
	}
	defer master.Close()
	text, err := io.ReadAll(io.LimitReader(master, maxAccount))
	if err != nil {
		return err
	}
	made, err := makeDatabases(p.pwdMkdb, p.scratch, text)
	if err != nil {
		return fmt.Errorf("cannot make the password databases: %w", err)
	}
	for _, f := range madeOfMaster {
		now, err := p.taker.Entry(p.root, f.path)
		if err != nil {
			return err
		}
		e := &manifest.Entry{Mode: f.mode}
		if now != nil && now.Type == manifest.File {
			e = e.WithMetaOf(now)
			e.Mode &= f.mode // no more open than pwd_mkdb makes it
		}
		p.write(f.path, e, made[f.path]).vital = true
	}
	return nil
}

// makeDatabases runs the host's own pwd_mkdb on text in a directory of its own
// below dir: in the boot environment's it would follow what a guest put there.
func makeDatabases(program, dir string, text []byte) (map[string][]byte, error) {
	tmp, err := os.MkdirTemp(dir, "pwd-*") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	// A line that cannot be read would end it, and locks would have no effect.
	text = account.Parse(account.MasterPasswd, text).Readable()
	master := filepath.Join(tmp, "master.passwd")
	if err := os.WriteFile(master, text, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-p", "-d", tmp, master)
	cmd.Env = []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "LC_ALL=C", "PW_SCAN_BIG_IDS=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	made := map[string][]byte{}
	for _, f := range madeOfMaster {
		if made[f.path], err = os.ReadFile(filepath.Join(tmp, filepath.Base(f.path))); err != nil {
			return nil, err
		}
	}
	return made, nil
}
