package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBesideTheGuest(t *testing.T) {
	tk := Taken{Dataset: "tank/a/web1"}
	if got := strings.Join(tk.holders(), " "); got != "tank/a/.beadm tank/a/.beadm/web1 tank/a/.beadm/web1/ROOT" {
		t.Error(got)
	}
}

// What is below a root comes with it, wherever its mount point was said.
func TestRemount(t *testing.T) {
	for _, c := range []struct {
		at, source, want string
		top              bool
	}{
		{"/m/web1", "local", "/m/.beadm/web1/root", true},
		{"none", "inherited from tank", "/m/.beadm/web1/root", true},
		{"/m/.beadm/web1/root", "local", "", true},
		{"/m/web1/srv", "local", "/m/.beadm/web1/root/srv", false},
		{"/m/web1/srv", "inherited from tank/web1", "", false},
		{"/m/web10", "local", "/m/.beadm/web1/root/m/web10", false}, // as an imported one has it
		{"none", "local", "", false},
	} {
		got := ""
		d := withProps(map[string]property{"mountpoint": {c.at, c.source}})
		for _, s := range remount(d, c.top, "/m/web1", "/m/.beadm/web1/root") {
			got += s.value
		}
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// Cut at each of its effects, or failed there, taking in and giving out are
// finished by being repeated; nothing is copied and nothing gets lost.
func TestTakeInCut(t *testing.T) {
	pool := needPool(t)
	ctx := context.Background()
	stop := errors.New("cut")
	for _, inherited := range []bool{true, false} {
		next := func(n int) int { return n + 1 }
		if testing.Short() {
			some := map[bool][]int{true: {2, 5, 14, 17, 25, 33, 36, 39}, false: {2, 11, 16, 28, 34, 38}}[inherited]
			next = func(n int) int {
				for _, at := range some {
					if at > n {
						return at
					}
				}
				return 1 << 30 // behind the last effect
			}
		}
		for n := next(-1); ; n = next(n) {
			machines := t.TempDir()
			top := fmt.Sprintf("%s/taken%v%d", pool, inherited, n)
			at := filepath.Join(machines, "web1")
			root := filepath.Join(machines, ".beadm/web1/root")
			run(t, "zfs", "create", "-o", "mountpoint="+machines, top)
			if inherited {
				run(t, "zfs", "create", top+"/web1")
			} else {
				run(t, "zfs", "create", "-o", "mountpoint="+at, top+"/web1")
			}
			run(t, "zfs", "create", "-o", "mountpoint="+at+"/srv", top+"/web1/other")
			run(t, "zfs", "create", top+"/web1/opt")
			run(t, "zfs", "create", "-o", "canmount=noauto", top+"/web1/spare")
			for _, file := range []string{"a", "srv/b", "opt/c"} {
				if err := os.WriteFile(filepath.Join(at, file), []byte(file), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			// zfs takes no canmount back to where it was not said.
			look := func() string {
				return strings.ReplaceAll(run(t, "zfs", "get", "-Hr", "-o", "name,property,value,source", "guid,mountpoint,canmount,mounted", top), "canmount\ton\tlocal", "canmount\ton\tdefault")
			}
			before := look()
			tk, err := LookAt(ctx, at, nil)
			if err != nil || tk.Inherited != inherited || tk.Dataset != top+"/web1" || len(tk.ByHand) != 1 || tk.ByHand[0] != "/spare" {
				t.Fatalf("%+v, %v", tk, err)
			}
			left, cuts := n, 0
			step := func(f func(s *Store) error) {
				t.Helper()
				s := mover(tk, nil)
				s.effect = func(when, what string) error {
					if cuts == 0 && left == 0 {
						cuts++
						t.Logf("cut %d: %s %s", n, when, what)
						return stop
					}
					left--
					return nil
				}
				err := f(s)
				if errors.Is(err, stop) {
					run(t, "zfs", "mount", "-a") // the host boots
					s = mover(tk, nil)
					err = f(s)
				}
				if err != nil {
					t.Fatalf("cut %d: %v", n, err)
				}
			}
			step(func(s *Store) error { return s.takeIn(ctx, tk, "default", root) })
			entries, err := os.ReadDir(at)
			if err != nil && !os.IsNotExist(err) || len(entries) > 0 {
				t.Fatalf("cut %d: %s holds %v, %v", n, at, entries, err)
			}
			run(t, "zfs", "mount", "-a")
			if list := run(t, "sh", "-c", "findmnt -rno TARGET | grep ^"+machines+"/ || :"); list != "" {
				t.Errorf("cut %d: something mounts itself: %v", n, list)
			}
			s, err := Open(ctx, Config{BERoot: tk.BERoot(), Root: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := s.Mount(ctx, "default", dir, false); err != nil {
				t.Fatalf("cut %d: %v", n, err)
			}
			for _, file := range []string{"a", "srv/b", "opt/c"} {
				if got, err := os.ReadFile(filepath.Join(dir, file)); string(got) != file {
					t.Errorf("cut %d: %s is %q, %v", n, file, got, err)
				}
			}
			if err := s.Unmount(ctx, "default", false); err != nil {
				t.Fatal(err)
			}
			step(func(s *Store) error { return s.giveOut(ctx, tk, root) })
			if after := look(); after != before {
				t.Errorf("cut %d: before\n%s\nafter\n%s", n, before, after)
			}
			// A timer of the system's may look through what was just mounted.
			run(t, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do zfs destroy -r "+top+" && exit; sleep 2; done; exec zfs destroy -r "+top)
			if cuts == 0 {
				if n < 10 {
					t.Errorf("only %d effects were seen", n)
				}
				break
			}
		}
	}
}
