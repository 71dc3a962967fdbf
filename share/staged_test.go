//go:build linux

package share

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// clone is a boot environment at rest beside the running one.
func clone(t *testing.T, script string) string {
	t.Helper()
	root := t.TempDir()
	sh(t, root, script)
	t.Cleanup(func() {
		Unstage(context.Background(), root)
		PrepareMountPoint(root, false)
	})
	return root
}

const linkedClone = `mkdir -p var/share; for d in mail log spool tmp; do ln -s share/$d var/$d; done`

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func TestStageAndArrive(t *testing.T) {
	root := system(t)
	ctx := context.Background()
	if _, err := Init(ctx, Options{Root: root, OS: "linux"}); err != nil {
		t.Fatal(err)
	}
	live := root + "/var/share"
	be2 := clone(t, linkedClone)
	if err := PrepareMountPoint(be2, true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Stage(ctx, be2, live); err != nil {
			t.Fatal(err)
		}
	}
	// Directories with their modes, no data.
	var st unix.Stat_t
	if err := unix.Stat(be2+"/var/mail", &st); err != nil || st.Mode&0o7777 != 0o2775 || st.Gid != 8 {
		t.Errorf("%v %o", err, st.Mode)
	}
	if err := unix.Stat(be2+"/var/spool/cron", &st); err != nil {
		t.Error(err)
	}
	if got := read(t, be2+"/var/mail/alice"); strings.HasPrefix(got, "From") {
		t.Error("mail was staged")
	}
	// A package is installed.
	sh(t, be2, `
mkdir -p -m 730 var/spool/postfix/maildrop; chown 105:107 var/spool/postfix/maildrop
printf 'installed\n' > var/log/dpkg.log; printf 'lin' > var/log/syslog; printf other > var/mail/alice
ln -s /nowhere var/spool/l; mkfifo var/spool/postfix/f; chmod 700 var/log; mkdir var/log/clash; touch var/log/clash/in`)
	sh(t, live, "touch -d 2000-01-01 log/clash")
	if on, err := Staged(be2); err != nil || !on {
		t.Error(on, err)
	}
	for range 2 {
		if err := Unstage(ctx, be2); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(be2 + "/var/log/dpkg.log"); err == nil {
		t.Error("the staged log is still seen")
	}
	a, err := Arrive(ctx, be2, live, time.Unix(1e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(a.SetAside) != "[log/clash mail/alice]" && fmt.Sprint(a.SetAside) != "[mail/alice log/clash]" {
		t.Errorf("%+v", a)
	}
	if err := unix.Stat(live+"/spool/postfix/maildrop", &st); err != nil || st.Mode&0o7777 != 0o730 || st.Uid != 105 {
		t.Errorf("%v %o", err, st.Mode)
	}
	if err := unix.Stat(live+"/log", &st); err != nil || st.Mode&0o7777 != 0o755 {
		t.Errorf("the mode of a live directory was changed: %o", st.Mode)
	}
	for file, want := range map[string]string{
		"log/dpkg.log": "installed\n", "log/syslog": "line\n", "mail/alice": "From a\n",
		a.Directory + "/mail/alice": "other", a.Directory + "/log/clash/in": "",
	} {
		if got := read(t, live+"/"+file); got != want {
			t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}
	if on, err := Staged(be2); err != nil || on {
		t.Error("staged after arrival", on, err)
	}
	if a, err = Arrive(ctx, be2, live, time.Now()); err != nil || a.Created != 0 || len(a.SetAside) != 0 {
		t.Errorf("again: %+v %v", a, err)
	}
}

// A hostile boot environment does not lead staging, arrival or adoption out.
func TestStagingStaysInside(t *testing.T) {
	root := system(t)
	ctx := context.Background()
	if _, err := Init(ctx, Options{Root: root, OS: "linux"}); err != nil {
		t.Fatal(err)
	}
	live, out := root+"/var/share", t.TempDir()
	sh(t, out, "mkdir log; printf secret > log/s; printf key > key")
	for _, script := range []string{
		"mkdir -p var; ln -s " + out + " var/share; for d in mail log; do ln -s share/$d var/$d; done",
		"mkdir -p var/share; ln -s " + out + " var/.beadm-staged; ln -s share/log var/log",
		"mkdir -p var/share var/.beadm-staged; ln -s " + out + "/log var/.beadm-staged/log; ln -s " + out + "/key var/.beadm-staged/key; ln -s share/log var/log",
		"ln -s " + out + " var",
	} {
		bad := clone(t, script)
		Stage(ctx, bad, live)
		sh(t, bad, "mountpoint -q "+out+" && exit 1; mountpoint -q "+out+"/log && exit 1; true")
		Unstage(ctx, bad)
		Arrive(ctx, bad, live, time.Now())
		Adopt(ctx, bad, live, "linux", time.Time{})
		if read(t, out+"/log/s") != "secret" || read(t, out+"/key") != "key" {
			t.Fatalf("%s: outside was changed", script)
		}
		if got, _ := os.ReadDir(out); len(got) != 2 {
			t.Fatalf("%s: made outside: %v", script, got)
		}
		for _, f := range []string{"log/s", "s", "key"} {
			if info, err := os.Lstat(live + "/" + f); err == nil && info.Mode().IsRegular() {
				t.Fatalf("%s: %s came in from outside", script, f)
			}
		}
	}
}

func TestAdopt(t *testing.T) {
	root := system(t)
	ctx := context.Background()
	// The clone was made before the relocation.
	old := clone(t, aSystem)
	time.Sleep(50 * time.Millisecond)
	cloned := time.Now()
	time.Sleep(50 * time.Millisecond)
	sh(t, old, `printf installed > var/log/dpkg.log; mkdir -m 710 var/spool/new; chown 7:7 var/spool/new; ln -s ../../lib/x var/spool/new/l; ln -s ../../../x var/spool/new/m`)
	if _, err := Init(ctx, Options{Root: root, OS: "linux"}); err != nil {
		t.Fatal(err)
	}
	live := root + "/var/share"
	os.Remove(live + "/mail/alice") // read and deleted since
	for range 2 {
		if _, err := Adopt(ctx, old, live, "linux", cloned); err != nil {
			t.Fatal(err)
		}
	}
	for p, s := range state(t, old) {
		if s != Linked && s != Absent {
			t.Errorf("%s is %s", p, s)
		}
	}
	if got := read(t, old+"/var/.beadm-old/mail/alice"); got != "From a\n" {
		t.Errorf("the old tree holds %q", got)
	}
	a, err := Arrive(ctx, old, live, time.Now())
	if err != nil || len(a.SetAside) > 0 {
		t.Fatalf("%+v %v", a, err)
	}
	if got := read(t, live+"/log/dpkg.log"); got != "installed" {
		t.Error(got)
	}
	if _, err := os.Lstat(live + "/mail/alice"); err == nil {
		t.Error("a deleted message came back")
	}
	var st unix.Stat_t
	if err := unix.Stat(live+"/spool/new", &st); err != nil || st.Mode&0o777 != 0o710 || st.Uid != 7 {
		t.Errorf("%v %o", err, st.Mode)
	}
	if got, _ := os.Readlink(live + "/spool/new/l"); got != "../../../lib/x" {
		t.Errorf("link %q", got)
	}
	if got, _ := os.Readlink(live + "/spool/new/m"); got != "../../../../x" {
		t.Errorf("link %q", got)
	}
	if got := read(t, live+"/log/syslog"); got != "line\n" {
		t.Error(got)
	}
}

func TestSkeleton(t *testing.T) {
	asRoot(t)
	ctx := context.Background()
	root := clone(t, linkedClone)
	if err := PrepareMountPoint(root, true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/var/share/x", nil, 0o600); err == nil {
		t.Log("this file system has no immutable flag")
	}
	for range 2 {
		if err := Skeleton(ctx, root); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(root+"/var/tmp", &st); err != nil || st.Mode&0o7777 != 0o1777 {
		t.Errorf("%v %o", err, st.Mode)
	}
	// What would be lost at the next boot is not taken in.
	for path, want := range map[string]error{"mail/alice": unix.EROFS, "spool/job": unix.EROFS, "log/x": nil, "tmp/x": nil} {
		if err := os.WriteFile(root+"/var/"+path, nil, 0o600); !errors.Is(err, want) {
			t.Errorf("/var/%s: %v, wanted %v", path, err, want)
		}
	}
	if err := Unstage(ctx, root); err != nil {
		t.Fatal(err)
	}
}

func TestPlanRefuses(t *testing.T) {
	root := system(t)
	ctx := context.Background()
	sh(t, root, `mkdir -p var/adm/netconfig var/lib/rpm var/crash/inner; ln -s elsewhere var/x; mkdir var/spool/sub srv; touch var/log/file`)
	if err := unix.Mount(root+"/etc", root+"/var/spool/sub", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(root+"/var/spool/sub", 0)
	if err := unix.Mount(root+"/etc", root+"/var/crash", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(root+"/var/crash", 0)
	s := state(t, root)
	for p, want := range map[string]State{"/var/adm": Refused, "/var/spool": Refused, "/var/crash": Separate, "/var/mail": Real} {
		if s[p] != want {
			t.Errorf("%s is %s, want %s", p, s[p], want)
		}
	}
	for _, p := range []string{"/var/lib", "/srv", "/usr/local", "/var/share", "/var/log/file", "/var/spool"} {
		if _, err := MakePlan(ctx, root, Profile("linux"), false, p); be.KindOf(err) != be.Decision {
			t.Errorf("%s: %v", p, err)
		}
	}
	before := seen(t, root)
	if _, err := Init(ctx, Options{Root: root, OS: "linux", Paths: []string{"/var/mail"}, Free: 1}); err == nil || !strings.Contains(err.Error(), "free") {
		t.Errorf("%v", err)
	}
	if seen(t, root) != before {
		t.Error("a refusal changed something")
	}
}

// Paths that are no directory of their own to move.
func TestPathsWithinOthers(t *testing.T) {
	root := system(t)
	ctx := context.Background()
	sh(t, root, `
mkdir -p var/spool/cron/crontabs var/cores/crash var/www var/own/sub var/lib/mine srv/data srv/below; ln -s ../srv var/base
ln -s cores/crash var/crash; ln -s ../../etc var/out; ln -s loop var/loop; ln -s www/x var/page; ln -s own/sub var/subown`)
	if err := unix.Mount(root+"/etc", root+"/var/own", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(root+"/var/own", 0)
	sh(t, root, `mkdir -p etc/sub`)
	profile := Profile("linux", "/var/cores", "/var/spool/cron/crontabs", "/var/own", "/var/own/sub", "/var/out", "/var/loop",
		"/var/page", "/var/subown", "/var/lib/mine", "/srv/data", "/var/base/below", "/etc/x", "/var/share/mail", "!/var/tmp", "/var/none")
	at := func() map[string]Path {
		t.Helper()
		list, err := Status(ctx, root, profile)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]Path{}
		for _, p := range list {
			m[p.Path] = p
		}
		return m
	}
	check := func(p string, want State, with, why string) {
		t.Helper()
		x := at()[p]
		if x.State != want || x.With != with || !strings.Contains(x.Why, why) || why == "" && x.Why != "" {
			t.Errorf("%s: %+v", p, x)
		}
	}
	check("/var/cores", Real, "", "")
	check("/var/spool/cron/crontabs", Within, "/var/spool", "it is in /var/spool, which is moved with")
	check("/var/crash", Within, "/var/cores", "a link that leads into /var/cores, which is moved with")
	check("/var/own", Separate, "", "")
	check("/var/own/sub", Within, "/var/own", "it is in /var/own, which is a file system of its own")
	check("/var/subown", Within, "/var/own", "a link that leads into /var/own, which is a file")
	check("/var/out", Elsewhere, "", "it is a link to ../../etc, which leads to /etc")
	check("/var/loop", Elsewhere, "", "it is a link to loop")
	check("/var/page", Elsewhere, "", "leads into /var/www: share that")
	check("/var/lib/mine", Real, "", "")
	check("/srv/data", Real, "", "")
	check("/var/base/below", Refused, "", "a link on the way leads to /srv/below: share that")
	check("/etc/x", Refused, "", "it is of the system")
	check("/var/share/mail", Refused, "", "in the shared data already")
	check("/var/none", Absent, "", "")
	if x, ok := at()["/var/tmp"]; ok {
		t.Errorf("taken out: %+v", x)
	}
	// Asked for alone, it is not moved: what it is in is.
	for _, p := range []string{"/var/page", "/var/crash"} {
		if _, err := MakePlan(ctx, root, profile, false, p); be.KindOf(err) != be.Decision || !strings.Contains(err.Error(), ": share that") {
			t.Errorf("%s: %v", p, err)
		}
	}
	plan, err := MakePlan(ctx, root, profile, false)
	if err != nil {
		t.Fatal(err)
	}
	var moves []string
	for _, p := range plan.Moves() {
		moves = append(moves, p.Path)
	}
	if got := strings.Join(moves, " "); got != "/srv/data /var/cores /var/lib/mine /var/log /var/mail /var/spool" {
		t.Fatalf("it would move %s", got)
	}
	if _, err := Init(ctx, Options{Root: root, OS: "linux", Paths: moves}); err != nil {
		t.Fatal(err)
	}
	check("/var/cores", Linked, "", "")
	check("/var/spool/cron/crontabs", Within, "/var/spool", "it is in /var/spool, which is shared")
	check("/var/crash", Within, "/var/cores", "leads into /var/cores, which is shared")
	for _, p := range []string{"/var/spool/cron/crontabs", "/var/crash"} {
		if plan, err := MakePlan(ctx, root, profile, false, p); err != nil || len(plan.Moves()) != 0 {
			t.Errorf("%s: %+v %v", p, plan, err)
		}
	}
	// The link still leads where it did.
	sh(t, root, `test "$(readlink var/crash)" = cores/crash; echo dump >var/crash/1; test -e var/share/cores/crash/1; test -d var/tmp -a ! -L var/tmp`)
}

func TestLinksThatLeave(t *testing.T) {
	for _, c := range [][3]string{
		{"mail", "../mail", "../../mail"},
		{"a/mail", "../mail", "../mail"},
		{"a/mail", "../../mail", "../../../mail"},
		{"a", "b", "b"},
		{"a", "/etc", "/etc"},
		{"a", "..", "../.."},
		{"a", "./../x", "../../x"},
		{"a/b", "c/../../x", "c/../../x"},
	} {
		if got := deeper("/var/log")(c[0], c[1]); got != c[2] {
			t.Errorf("deeper(%q, %q) = %q, want %q", c[0], c[1], got, c[2])
		}
		if back := shallower("/var/log")(c[0], c[2]); back != strings.TrimPrefix(c[1], "./") && back != c[1] {
			t.Errorf("shallower(%q, %q) = %q, want %q", c[0], c[2], back, c[1])
		}
	}
}

func TestUnitOf(t *testing.T) {
	for _, c := range [][3]string{
		{"0::/system.slice/rsyslog.service\n", "", "rsyslog.service"},
		{"0::/system.slice/system-postfix.slice/postfix@-.service\n", "", "postfix@-.service"},
		{"12:cpu:/x\n1:name=systemd:/system.slice/cron.service\n0::/system.slice/cron.service\n", "", "cron.service"},
		{"0::/user.slice/user-0.slice/session-3.scope\n", "", ""},
		{"0::/user.slice/user-0.slice/user@0.service/app.slice/x.service\n", "", ""},
		{"0::/init.scope\n", "", ""},
		{"0::/system.slice/systemd-journald.service\n", "", ""},
		{"0::/machine.slice/systemd-nspawn@web.service/payload/system.slice/cron.service\n", "", "systemd-nspawn@web.service"},
		{"0::/machine.slice/systemd-nspawn@web.service/payload/system.slice/cron.service\n", "/machine.slice/systemd-nspawn@web.service", "cron.service"},
		{"0::/system.slice/cron.service\n", "/machine.slice/systemd-nspawn@web.service", ""},
	} {
		if got := unitOf(c[0], c[1]); got != c[2] {
			t.Errorf("unitOf(%q, %q) = %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func TestSnapshotName(t *testing.T) {
	at := time.Date(2026, 11, 21, 3, 4, 5, 0, time.UTC)
	name := SnapshotName("1f2e", at)
	if name != "beadm-1f2e-20261121T030405Z" {
		t.Error(name)
	}
	if id, when, ok := ParseSnapshotName(name); !ok || id != "1f2e" || !when.Equal(at) {
		t.Error(id, when, ok)
	}
	if _, _, ok := ParseSnapshotName("beadm-x"); ok {
		t.Error("parsed nonsense")
	}
}

// What a killed arrival had begun and not named goes with the next.
func TestArrivalTidiesUpAfterOne(t *testing.T) {
	root := system(t)
	if _, err := Init(t.Context(), Options{Root: root, OS: "linux"}); err != nil {
		t.Fatal(err)
	}
	live := root + "/var/share"
	be2 := clone(t, linkedClone+`; mkdir -p var/.beadm-staged/mail/sub; echo x >var/.beadm-staged/mail/bob; echo 2026-11-21T000000Z >var/.beadm-staged/.beadm-arrival`)
	sh(t, live, `touch mail/.beadm-new-1; mkdir -p .beadm-new-2/x mail/sub/.beadm-new-3; touch mail/.beadm-newish`)
	if _, err := Arrive(t.Context(), be2, live, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string]bool{"mail/.beadm-new-1": false, ".beadm-new-2": false, "mail/sub/.beadm-new-3": false, "mail/.beadm-newish": true, "mail/bob": true} {
		if _, err := os.Lstat(filepath.Join(live, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An adoption and the arrival after it, each killed at every effect and
// called again, end as if nobody had been killed.
func TestAdoptAndArriveDieAnywhere(t *testing.T) {
	for _, without := range []string{"", "1"} {
		t.Run("exchange"+without, func(t *testing.T) {
			var want string
			steps := [2]int{}
			for round := 0; ; round++ {
				root := system(t)
				ctx := context.Background()
				old := clone(t, aSystem)
				sh(t, old, `printf 'line\nmore\n' > var/log/syslog; printf new > var/log/fresh; printf other > var/mail/alice; mkdir -p -m 710 var/spool/a/b; touch var/spool/a/b/c`)
				if _, err := Init(ctx, Options{Root: root, OS: "linux"}); err != nil {
					t.Fatal(err)
				}
				live := root + "/var/share"
				die := func(op string, n int) bool {
					cmd := exec.Command(os.Args[0])
					cmd.Env = append(os.Environ(), fmt.Sprintf("SHARE_TEST_DIE=%s:%d:%s:%s", op, n, t.TempDir()+"/r", old),
						"SHARE_TEST_LIVE="+live, "SHARE_TEST_NOEXCHANGE="+without)
					out, err := cmd.CombinedOutput()
					killed := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
					if err != nil && !killed {
						t.Fatalf("%s: %v: %s", op, err, out)
					}
					return killed
				}
				// Round 0 is not disturbed; then die in adopt at 1, 2, …, then in
				// arrive.
				adoptAt, arriveAt := 0, 0
				switch {
				case round == 0:
				case steps[0] == 0:
					adoptAt = round
				default:
					arriveAt = round - steps[0]
				}
				if adoptAt > 0 && !die("adopt", adoptAt) {
					steps[0] = adoptAt
				}
				if _, err := Adopt(ctx, old, live, "linux", time.Time{}); err != nil {
					t.Fatalf("adopt after %d: %v", adoptAt, err)
				}
				finished := arriveAt > 0 && !die("arrive", arriveAt)
				if _, err := Arrive(ctx, old, live, time.Unix(2e9, 0)); err != nil {
					t.Fatalf("arrive after %d: %v", arriveAt, err)
				}
				got := seen(t, root) + fmt.Sprint(state(t, old))
				filepath.WalkDir(live+"/"+ArrivedDir, func(at string, d os.DirEntry, err error) error {
					if err == nil && !d.IsDir() {
						got += "\n" + filepath.Base(filepath.Dir(at)) + "/" + d.Name() + "=" + read(t, at)
					}
					return nil
				})
				if on, _ := Staged(old); on {
					t.Fatal("staged still")
				}
				got = regexp.MustCompile(`mtime=\S+`).ReplaceAllString(got, "")
				if round == 0 {
					want = got
					if !strings.Contains(want, "alice=other") || !strings.Contains(want, "syslog=line") {
						t.Fatal(want)
					}
				} else if got != want {
					t.Fatalf("after adopt %d, arrive %d: got\n%s\nwant\n%s", adoptAt, arriveAt, got, want)
				}
				unix.Unmount(live, unix.MNT_DETACH)
				PrepareMountPoint(old, false)
				if finished {
					t.Logf("%d and %d effects", steps[0]-1, arriveAt-1)
					return
				}
			}
		})
	}
}
