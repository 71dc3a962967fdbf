package guest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"beadm/be"
)

// plainRoot is a guest's root on a btrfs of its own that is a plain directory.
func plainRoot(t *testing.T) Place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting a btrfs takes root")
	}
	image, top := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	for _, argv := range [][]string{{"truncate", "-s", "256M", image}, {"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, top}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(top, 0); err != nil {
			t.Error(err)
		}
	})
	p := Place{Root: filepath.Join(top, "machines", "web1")}
	script := `mkdir -p "$1/etc" "$1/usr" && cd "$1" && chmod 751 . && chown 5:6 . && setfattr -n user.top -v x .
echo 1 >etc/one; ln etc/one etc/two; truncate -s 1M etc/hole; chown 7:8 etc/one; chmod 4755 etc/one; touch -d @1000000000 etc/one
btrfs -q subvolume create usr/nested; echo in >usr/nested/file; ln -s /etc/one link; mkfifo fifo
echo kept >etc/fixed; chattr +i etc/fixed`
	if out, err := exec.Command("sh", "-ec", script, "sh", p.Root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", `find . -mindepth 1 -printf '%p %y %m %U:%G %s %n %T@ %l\n' | sort; stat -c '%a %u:%g' .; getfattr -n user.top --only-values .; cat etc/one usr/nested/file; lsattr etc/fixed | cut -c5`)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// A directory's size, and its links, are the file system's own.
	var lines []string
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Fields(line); len(f) > 5 && f[1] == "d" {
			f[4], f[5] = "", ""
			line = strings.Join(f, " ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func never() error { return nil }

// A plain directory becomes a subvolume with all that is in it, and is kept; cut
// anywhere, it is finished by doing it again, with what was written meanwhile.
func TestAdoptPlain(t *testing.T) {
	died := errors.New("it died")
	for _, cut := range []string{"", "noted", "copied", "linked", "exchanged"} {
		t.Run("cut "+cut, func(t *testing.T) {
			p := plainRoot(t)
			if err := p.CanAdopt(); err != nil || !p.IsPlain() {
				t.Fatalf("%v, plain: %v", err, p.IsPlain())
			}
			if err := p.Make(); err != nil {
				t.Fatal(err)
			}
			dies = func(at string) error {
				if at == cut {
					return died
				}
				return nil
			}
			defer func() { dies = func(string) error { return nil } }()
			want := listing(t, p.Root)
			kept, err := p.AdoptPlain(context.Background(), "default", never)
			if cut != "" {
				if !errors.Is(err, died) {
					t.Fatalf("it was to die: %v", err)
				}
				dies = func(string) error { return nil }
				if _, adopted, _ := p.Current(); adopted {
					kept, err = p.EndPlain()
				} else {
					if err := os.WriteFile(filepath.Join(p.Root, "etc/hole"), []byte("written meanwhile"), 0o644); err != nil {
						t.Fatal(err)
					}
					want = listing(t, p.Root)
					kept, err = p.AdoptPlain(context.Background(), "other", never)
				}
			}
			if err != nil || kept != filepath.Join(filepath.Dir(p.Root), ".web1.plain-1") {
				t.Fatalf("kept as %q: %v", kept, err)
			}
			name, adopted, err := p.Current()
			if err != nil || !adopted || isSubvolume(filepath.Join(p.Dir(), name)) != nil {
				t.Fatalf("it starts from %q, adopted: %v, %v", name, adopted, err)
			}
			for _, dir := range []string{p.Root + "/", kept} {
				if got := listing(t, dir); got != want {
					t.Errorf("%s:\n%s\nwant\n%s", dir, got, want)
				}
			}
			entries, err := os.ReadDir(p.Dir())
			if err != nil || len(entries) != 2 {
				t.Errorf("in %s there is %v, %v", p.Dir(), entries, err)
			}
			if again, err := p.EndPlain(); again != "" || err != nil {
				t.Errorf("a second end: %q, %v", again, err)
			}
		})
	}
}

// Whoever starts the guest meanwhile finds it as it was.
func TestAdoptPlainOfOneThatIsStarted(t *testing.T) {
	p := plainRoot(t)
	if err := p.Make(); err != nil {
		t.Fatal(err)
	}
	want := listing(t, p.Root)
	for when := range 2 {
		asked := 0
		_, err := p.AdoptPlain(context.Background(), "default", func() error {
			if asked++; asked > when {
				return be.E(be.InUse, "it runs")
			}
			return nil
		})
		if be.KindOf(err) != be.InUse {
			t.Fatalf("asked %d times: %v", asked, err)
		}
		if got := listing(t, p.Root); got != want || !p.IsPlain() {
			t.Fatalf("it is\n%s\nand was\n%s", got, want)
		}
		above, _ := filepath.Glob(filepath.Join(filepath.Dir(p.Root), ".web1*"))
		below, _ := os.ReadDir(p.Dir())
		if len(above) != 0 || len(below) != 1 {
			t.Fatalf("left are %v and %v", above, below)
		}
	}
	// Boot environments of a root that somebody replaced are no copy of this one.
	if err := os.Mkdir(filepath.Join(p.Dir(), RootPrefix+"other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := p.AdoptPlain(context.Background(), "default", never); be.KindOf(err) != be.InUse {
		t.Errorf("beside other boot environments: %v", err)
	}
}
