package lxc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/guest"
	"beadm/be"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		said string
		want container
		ok   bool
	}{
		{"State:          STOPPED\nlxc.rootfs.path = /r\nlxc.console.logfile = \n", container{root: "/r"}, true},
		{"State:          RUNNING\nPID:            24005\nlxc.rootfs.path = /r\nlxc.console.logfile = /c\n", container{root: "/r", running: true, leader: 24005, console: "/c"}, true},
		{"State:          FROZEN\nPID:            24005\nlxc.rootfs.path = /r\n", container{root: "/r", running: true, leader: 24005}, true},
		{"State:          STOPPED\nPID:            24005\n", container{}, true},
		{"State:          STARTING\n", container{running: true}, true},
		{"State:          ASLEEP\n", container{}, false},
		{"lxc.rootfs.path = /r\n", container{}, false},
		{"State:          RUNNING\nPID:            1\n", container{}, false},
		{"State:          RUNNING\nPID:            -7\n", container{}, false},
		{"State:          STOPPED\nweb1 doesn't exist\n", container{}, false},
		{"", container{}, false},
	} {
		var got container
		err := got.read(c.said)
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%q is %+v, %v", c.said, got, err)
		}
	}
}

func TestCause(t *testing.T) {
	log := `lxc-start web1 20261122042339.349 NOTICE   start - ../src/lxc/start.c:start:2194 - Exec'ing "/sbin/init"
lxc-start web1 20261122042231.877 ERROR    dir - ../src/lxc/storage/dir.c:dir_mount:163 - Not a directory - Failed to open "/r"
lxc-start web1 20261122042231.877 ERROR    conf - ../src/lxc/conf.c:lxc_mount_rootfs:1440 - Failed to mount rootfs
`
	if got, want := cause([]byte(log)), `Not a directory - Failed to open "/r"`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestListTakesContainersOnDirectories(t *testing.T) {
	path := t.TempDir()
	put := func(name, config string) {
		check(t, os.Mkdir(filepath.Join(path, name), 0o755))
		check(t, os.WriteFile(filepath.Join(path, name, "config"), []byte(config), 0o644))
	}
	root := filepath.Join(path, "web2", "rootfs")
	put("web2", "lxc.rootfs.path = dir:"+root+"\n")
	check(t, os.Mkdir(root, 0o755))
	put("web1", "lxc.rootfs.path = btrfs:"+filepath.Join(path, "web1", "rootfs")+"\n")
	check(t, os.Symlink("../web2/rootfs", filepath.Join(path, "web1", "rootfs")))
	put("overlay", "lxc.rootfs.path = overlay:"+root+":"+root+"\n")
	put("zfs", "lxc.rootfs.path = zfs:tank/zfs\n")
	put("gone", "lxc.rootfs.path = dir:"+path+"/gone/rootfs\n")
	put("none", "lxc.uts.name = none\n")
	put("-n", "lxc.rootfs.path = dir:"+root+"\n")
	put("a b", "lxc.rootfs.path = dir:"+root+"\n")
	check(t, os.Mkdir(filepath.Join(path, "noconfig"), 0o755))
	t.Cleanup(func() { os.RemoveAll(filepath.Join(lockDir, filepath.Dir(path))) })

	r := New(Config{Path: path, Dir: t.TempDir()})
	list, err := r.List(context.Background())
	check(t, err)
	var got []string
	for _, g := range list {
		got = append(got, fmt.Sprintf("%s %s %v", g.Name, strings.TrimPrefix(g.Root, path), g.Running))
	}
	if want := "[web1 /web1/rootfs false web2 /web2/rootfs false]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}

	if err := r.FollowsLink(context.Background(), guest.Guest{Name: "web1"}); err != nil {
		t.Errorf("btrfs: %v", err)
	}
	err = r.FollowsLink(context.Background(), guest.Guest{Name: "web2"})
	if be.KindOf(err) != be.Decision || !strings.Contains(err.Error(), "lxc.rootfs.path = btrfs:"+root) {
		t.Errorf("dir: %v", err)
	}
}

func TestCapabilitiesAreTakenFromEitherList(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		// By number: dac_read_search, then net_broadcast to ipc_owner, sys_module, ...
		{"lxc.cap.drop = sys_time\n", "lxc.cap.drop = 2 11 12 13 14 15 16 17 19 20 21 22 23 25 26 27 28 30 32"},
		{"lxc.cap.keep = chown net_admin\nlxc.cap.keep = net_raw setuid\n", "lxc.cap.keep = lxc.cap.keep = chown lxc.cap.keep = setuid"},
		{"lxc.cap.keep = net_admin\n", "lxc.cap.keep = lxc.cap.keep = none"},
	} {
		path := t.TempDir()
		t.Cleanup(func() { os.RemoveAll(filepath.Join(lockDir, filepath.Dir(path))) })
		check(t, os.MkdirAll(filepath.Join(path, "web1", "rootfs"), 0o755))
		check(t, os.WriteFile(filepath.Join(path, "web1", "more.conf"), []byte(c.config), 0o644))
		check(t, os.WriteFile(filepath.Join(path, "web1", "config"), []byte("lxc.include = "+path+"/web1/more.conf\nlxc.rootfs.path = dir:"+path+"/web1/rootfs\n"), 0o644))
		r := New(Config{Path: path, Dir: t.TempDir()})
		owner, err := r.container(context.Background(), guest.Guest{Name: "web1"})
		check(t, err)
		lines, err := r.capabilities(context.Background(), owner)
		check(t, err)
		if got := strings.Join(lines, " "); got != c.want && !strings.HasPrefix(got, c.want+" 33 ") {
			t.Errorf("%q gives %q, want %q", c.config, got, c.want)
		}
	}
}
