//go:build linux

package share

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/rooted"
)

func TestNames(t *testing.T) {
	seen := map[string]string{}
	for p, want := range map[string]string{
		"/var/mail":                "mail",
		"/var/lib/mailman":         "lib+mailman",
		"/var/spool/cron/crontabs": "spool+cron+crontabs",
		"/srv/www":                 "+srv+www",
		"/srv":                     "+srv",
		"/var/lib+mailman":         "lib%2Bmailman",
		"/var/%2B":                 "%252B",
		"/var/.hidden/x":           "%2Ehidden+x",
		"/var/lib/.hidden":         "lib+.hidden",
		"/var/two\nlines":          "two%0Alines",
		"/var/\xff":                "\xff",
		"/vary/x":                  "+vary+x",
	} {
		name := NameOf(p)
		back, ok := PathOf(name)
		if name != want || back != p || !ok || seen[name] != "" {
			t.Errorf("%q: %q, %q %v", p, name, back, ok)
		}
		seen[name] = p
	}
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", ".hidden", "a++b", "+", "+..+etc", "lib+..+..+etc", "lib+.", "a+", "%", "%zz", "a%2", "+var+mail", "+var", "%2F"} {
		if p, ok := PathOf(name); ok {
			t.Errorf("%q is %q", name, p)
		}
	}
	for p, want := range map[string]string{
		"/var/mail": "share/mail", "/var/lib/mailman": "../share/lib+mailman",
		"/var/spool/cron/crontabs": "../../share/spool+cron+crontabs", "/srv/www": "../var/share/+srv+www", "/srv": "var/share/+srv",
	} {
		if got := linkTarget(p); got != want {
			t.Errorf("%s -> %s", p, got)
		}
	}
}

func TestLinksThatLeaveDeepTrees(t *testing.T) {
	for _, c := range [][4]string{ // of the tree, where, its target, that in the shared dataset
		{"/var/lib/mailman", "l", "../other/f", "../../lib/other/f"},
		{"/var/lib/mailman", "l", "../../mail/f", "../../mail/f"},
		{"/var/lib/mailman", "l", "../../../etc/f", "../../../etc/f"},
		{"/var/lib/mailman", "a/l", "../x", "../x"},
		{"/var/lib/mailman", "a/l", "../../other", "../../../lib/other"},
		{"/var/lib/mailman", "l", "..", "../../lib"},
		{"/var/lib/mailman", "l", "../..", "../.."},
		{"/var/opt/x/data", "l", "../../../../etc", "../../../etc"},
		{"/var/opt/x/data", "l", "../conf", "../../opt/x/conf"},
		{"/srv/www", "l", "../ftp", "../../../srv/ftp"},
		{"/srv/www", "l", "../../var/mail", "../../mail"},
		{"/srv", "a/l", "../../etc/f", "../../../../etc/f"},
		{"/var/mail", "l", "../share/spool/f", "../spool/f"},
		{"/var/lib/mailman", "l", "../mailman/f", "../../lib/mailman/f"},
	} {
		got := deeper(c[0])(c[1], c[2])
		if got != c[3] {
			t.Errorf("in %s %s -> %s becomes %s, want %s", c[0], c[1], c[2], got, c[3])
		}
		in := func(top, target string) string { return path.Join(path.Dir(top+"/"+c[1]), target) }
		if in(c[0], c[2]) != in(MountPoint+"/"+NameOf(c[0]), got) && climbs(c[2]) > strings.Count(c[1], "/") {
			t.Errorf("in %s %s -> %s leads elsewhere: %s", c[0], c[1], c[2], got)
		}
		back := shallower(c[0])(c[1], got)
		if in(c[0], back) != in(c[0], c[2]) && asNamed(in(c[0], c[2])) != in(c[0], back) {
			t.Errorf("in %s %s -> %s comes back as %s", c[0], c[1], c[2], back)
		}
	}
	// One made while it was shared, to a neighbour.
	for _, c := range [][3]string{{"/var/lib/mailman", "../mail/f", "../../mail/f"}, {"/var/mail", "../lib+mailman/f", "../lib/mailman/f"}, {"/srv/www", "../+srv+ftp", "../ftp"}, {"/var/mail", "../.beadm-x/f", "../share/.beadm-x/f"}} {
		if got := shallower(c[0])("l", c[1]); got != c[2] {
			t.Errorf("in %s %s comes back as %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func climbs(target string) int { n, _ := climb(target); return n }

var deepPaths = []string{"/var/lib/mailman", "/var/spool/cron/crontabs", "/var/opt/x/data", "/var/opt/y/data", "/srv/www"}

const deepTrees = `
mkdir -p var/lib/mailman/archives var/lib/other var/spool/cron/crontabs var/opt/x/data/sub var/opt/y/data srv/www srv/ftp
printf list >var/lib/mailman/list; ln -s ../other var/lib/mailman/out; ln -s ../../mailman/list var/lib/mailman/archives/list; ln -s ../../mail/alice var/lib/mailman/mbox
ln var/lib/mailman/list var/lib/mailman/archives/hard; ln -s archives/../list var/lib/mailman/inside; ln -s /var/lib/mailman/list var/lib/mailman/abs
ln -s ../gone var/lib/mailman/dangling; ln -s loop var/lib/mailman/loop
printf 'x one' >var/opt/x/data/one; printf 'y one' >var/opt/y/data/one; ln -s ../../../y/data/one var/opt/x/data/sub/y; printf conf >var/opt/x/conf; ln -s ../conf var/opt/x/data/conf
printf root >var/spool/cron/crontabs/root; chown 0:33 var/spool/cron/crontabs; chmod 1730 var/spool/cron/crontabs; printf page >srv/www/page; ln -s ../ftp srv/www/ftp; ln -s ../../var/lib/mailman/list srv/www/list
`

// Directories further down and outside /var are moved, and come back; two of
// one name are told apart.
func TestDeepPaths(t *testing.T) {
	ctx := context.Background()
	root := onBtrfs(t)
	sh(t, root, deepTrees)
	before := seenAt(t, root, deepPaths)
	if _, err := MakePlan(ctx, root, nil, false, deepPaths...); be.KindOf(err) != be.Decision || !strings.Contains(err.Error(), "cannot share /srv/www: it is outside /var; --outside-var shares it all the same") {
		t.Fatalf("%v", err)
	}
	o := Options{Root: root, OS: "linux", Paths: deepPaths}
	res, err := Init(ctx, o)
	if err != nil || len(res.Moved) != len(deepPaths) {
		t.Fatalf("%+v %v", res, err)
	}
	if got := seenAt(t, root, deepPaths); got != before {
		t.Errorf("got\n%s\nwant\n%s", got, before)
	}
	shown := func(want State) {
		t.Helper()
		list, err := Status(ctx, root, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range deepPaths {
			i := slices.IndexFunc(list, func(x Path) bool { return x.Path == p })
			if want == Linked && (i < 0 || list[i].State != want || !list[i].Old) || want == Real && i >= 0 {
				t.Errorf("%s: %+v", p, list)
			}
		}
	}
	shown(Linked)
	// What is in one, and what one is in.
	if plan, err := MakePlan(ctx, root, nil, false, "/var/lib/mailman/archives"); err != nil || len(plan.Paths) != 1 || plan.Paths[0].With != "/var/lib/mailman" {
		t.Errorf("%+v %v", plan, err)
	}
	if _, err := MakePlan(ctx, root, nil, false, "/var/spool"); err == nil || !strings.Contains(err.Error(), "cannot share /var/spool: /var/spool/cron/crontabs, which is in it, is shared already: put that back first") {
		t.Errorf("%v", err)
	}
	if plan, err := MakePlan(ctx, root, Profile("linux"), false); err != nil || len(plan.Moves()) != 3 {
		t.Errorf("%+v %v", plan, err)
	}
	sh(t, root, `printf new >var/lib/mailman/new; ln -s ../opt+x+data/one var/share/lib+mailman/neighbour`)
	more := seenAt(t, root, deepPaths)
	o.Paths = nil
	if res, err = Undo(ctx, o); err != nil || len(res.Moved) != len(deepPaths) {
		t.Fatalf("%+v %v", res, err)
	}
	if got := seenAt(t, root, deepPaths); got != more {
		t.Errorf("undone: got\n%s\nwant\n%s", got, more)
	}
	shown(Real)
	if err := Commit(ctx, root, root+"/var/share"); err != nil {
		t.Fatal(err)
	}
	if got, _ := exec.Command("find", root, "-name", ".beadm*", "!", "-name", ".beadm-back").Output(); len(got) > 0 {
		t.Errorf("left: %s", got)
	}
}

func TestDeepPathsDieAnywhere(t *testing.T) {
	paths := []string{"/var/opt/x/data", "/srv/www"}
	// The other ways of the two are in TestDieAnywhere.
	for op, without := range map[string]string{"init": "1", "undo": ""} {
		t.Run(op+without, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				root := system(t)
				sh(t, root, deepTrees)
				o := Options{Root: root, OS: "linux", Paths: paths}
				if op == "undo" {
					if _, err := Init(context.Background(), o); err != nil {
						t.Fatal(err)
					}
				}
				before := seenAt(t, root, deepPaths)
				rec := t.TempDir() + "/record"
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), fmt.Sprintf("SHARE_TEST_DIE=%s:%d:%s:%s", op, n, rec, root), "SHARE_TEST_NOEXCHANGE="+without, "SHARE_TEST_PATHS="+strings.Join(paths, " "))
				out, err := cmd.CombinedOutput()
				killed := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
				if err != nil && !killed {
					t.Fatalf("%v: %s", err, out)
				}
				if data, err := os.ReadFile(rec); err == nil {
					for range 2 {
						if _, err := Recover(context.Background(), root, "this", data, nil); err != nil {
							t.Fatalf("after %d: %v", n, err)
						}
					}
				}
				if got := seenAt(t, root, deepPaths); got != before {
					t.Fatalf("after %d: got\n%s\nwant\n%s", n, got, before)
				}
				again, want := Init, Linked
				if op == "undo" {
					again, want = Undo, Real
				}
				if _, err := again(context.Background(), o); err != nil {
					t.Fatalf("again after %d: %v", n, err)
				}
				if got := seenAt(t, root, deepPaths); got != before {
					t.Fatalf("again after %d: got\n%s\nwant\n%s", n, got, before)
				}
				r, err := rooted.Open(root)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range paths {
					if x, err := lookAt(r, p); err != nil || x.State != want {
						t.Fatalf("again after %d: %+v %v", n, x, err)
					}
				}
				r.Close()
				if left, _ := exec.Command("find", root+"/srv", root+"/var/opt", "-name", ".beadm*").Output(); len(left) > 0 {
					t.Fatalf("after %d: left %s", n, left)
				}
				unix.Unmount(root+"/var/share", unix.MNT_DETACH)
				if !killed {
					if n < 10 {
						t.Fatalf("only %d effects", n)
					}
					return
				}
			}
		})
	}
}

// A boot environment of before gets the links where it has the directories
// above them, and packages in it write to the staging directory; and it can be
// put back while it rests.
func TestDeepPathsOfOneAtRest(t *testing.T) {
	ctx := context.Background()
	root := system(t)
	sh(t, root, deepTrees)
	if _, err := Init(ctx, Options{Root: root, OS: "linux", Paths: deepPaths}); err != nil {
		t.Fatal(err)
	}
	live := root + "/var/share"
	old := clone(t, deepTrees+"rm -r var/opt/y")
	time.Sleep(20 * time.Millisecond)
	since := time.Now()
	time.Sleep(20 * time.Millisecond)
	sh(t, old, "printf new >var/lib/mailman/new")
	a, err := Adopt(ctx, old, live, "linux", since)
	if got := strings.Join(a.Linked, " "); err != nil || !strings.Contains(got, "/srv/www") || !strings.Contains(got, "/var/lib/mailman") || strings.Contains(got, "/var/opt/y/data") {
		t.Fatalf("%+v %v", a, err)
	}
	if err := Stage(ctx, old, live); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Unstage(ctx, old) })
	sh(t, old, `test -d var/lib/mailman/archives; test "$(stat -c %a:%g var/spool/cron/crontabs/)" = 1730:33; test ! -e srv/www/page; printf staged >srv/www/staged; printf staged >var/spool/cron/crontabs/staged`)
	if err := Unstage(ctx, old); err != nil {
		t.Fatal(err)
	}
	if got, err := Arrive(ctx, old, live, time.Now()); err != nil || len(got.SetAside) != 0 {
		t.Fatalf("%+v %v", got, err)
	}
	sh(t, root, `test "$(cat srv/www/staged)" = staged; test "$(cat var/spool/cron/crontabs/staged)" = staged; test "$(cat var/lib/mailman/new)" = new`)
	// Nowhere to be found: the machine comes up.
	if err := Skeleton(ctx, old); err != nil {
		t.Fatal(err)
	}
	sh(t, old, `test -d srv/www/; test -d var/lib/mailman/`)
	if err := Unstage(ctx, old); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range deepPaths {
		names = append(names, NameOf(p))
	}
	done, err := PutBack(ctx, old, live, names)
	if err != nil || len(done) != len(deepPaths)-1 {
		t.Fatalf("%q %v", done, err)
	}
	sh(t, old, `test "$(cat srv/www/staged)" = staged; test ! -L var/lib/mailman; test "$(readlink var/lib/mailman/out)" = ../other; test ! -e var/.beadm-layout`)
}

// Whoever may rename what leads there could lead root elsewhere meanwhile.
func TestDeepPathsOfOthers(t *testing.T) {
	root := system(t)
	sh(t, root, `mkdir -p srv/alice/d/mail; chown 1000 srv/alice`)
	for p, want := range map[string]string{"/srv/alice/d/mail": "others than root can rename /srv/alice/d, which leads there: share that", "/srv/alice/d": ""} {
		_, err := MakePlan(context.Background(), root, nil, true, p)
		if want == "" && err != nil || want != "" && (be.KindOf(err) != be.Decision || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// One whose fstab mounts a file system where the others have a link keeps its
// directory: at its boot nothing is mounted there yet.
func TestAdoptLeavesWhatFstabMounts(t *testing.T) {
	ctx := context.Background()
	root := system(t)
	sh(t, root, deepTrees)
	if _, err := Init(ctx, Options{Root: root, OS: "linux"}); err != nil {
		t.Fatal(err)
	}
	old := clone(t, `mkdir -p etc var/log var/mail var/spool var/tmp; printf '/dev/x / ext4 defaults 0 1\n# /dev/z /var/mail ext4\n/dev/y /var/log/ ext4 defaults 0 2\ntmpfs /var/spool/with\\040blank tmpfs noauto\n' >etc/fstab`)
	a, err := Adopt(ctx, old, root+"/var/share", "linux", time.Now())
	if got := strings.Join(a.Linked, " "); err != nil || got != "/var/mail /var/tmp" {
		t.Errorf("%q %v", got, err)
	}
}
