package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate"
	"beadm/activate/guest"
)

// What a cut has left without a root is known, whatever runs it.
func TestGuestsThatAreCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lxc")
	t.Cleanup(func() { os.RemoveAll(filepath.Join("/run/lxc/lock", filepath.Dir(path))) })
	conf := activate.Conf{LXCPath: path, GuestDir: filepath.Join(dir, "machines"), GuestCommands: []activate.GuestCommands{{Name: "db1", Root: filepath.Join(dir, "srv/db")}, {Name: "db2", Root: filepath.Join(dir, "srv/whole")}}}
	for name, whole := range map[string]bool{"machines/web1": false, "machines/web2": true, "srv/db": false, "srv/whole": true, "lxc/c1/rootfs": false, "lxc/c2/rootfs": true} {
		p := guest.Place{Root: filepath.Join(dir, name)}
		check(t, os.MkdirAll(p.Dir(), 0o700))
		check(t, os.WriteFile(filepath.Join(p.Dir(), guest.Record), []byte("{}"), 0o600))
		if whole {
			check(t, os.Symlink(".beadm/"+filepath.Base(name)+"/@be-default", p.Root))
		}
		if of, ok := strings.CutSuffix(name, "/rootfs"); ok {
			write(t, filepath.Join(dir, of, "config"), "lxc.rootfs.path = btrfs:"+p.Root+"\n")
		}
	}
	check(t, os.MkdirAll(filepath.Join(dir, "machines/.beadm/web3"), 0o700))
	got := ""
	for _, g := range cutGuests(t.Context(), conf) {
		got += g.Runtime + ":" + g.Name + " "
	}
	if got != "command:db1 nspawn:web1 lxc:c1 " {
		t.Errorf("there are %q", got)
	}
}
