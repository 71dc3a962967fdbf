// Package layouttest makes the btrfs layouts of distributions, for tests. Each
// file says where it is from.
package layouttest

import (
	"embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed *.txt
var files embed.FS

// Layout is what an installer leaves.
type Layout struct {
	Name    string
	Root    string            // the subvolume that is mounted as /
	Mounts  map[string]string // by mount point, the subvolume that fstab mounts there
	fstab   string
	subvols []string
	Default string // the default subvolume; empty for the top level
}

// All are the layouts.
func All(t *testing.T) []Layout {
	t.Helper()
	names, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var list []Layout
	for _, n := range names {
		b, err := files.ReadFile(n.Name())
		if err != nil {
			t.Fatal(err)
		}
		l := Layout{Name: strings.TrimSuffix(n.Name(), ".txt"), Mounts: map[string]string{}}
		for line := range strings.Lines(string(b)) {
			verb, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			switch verb {
			case "#":
			case "subvolume":
				l.subvols = append(l.subvols, rest)
			case "root":
				l.Root = rest
			case "default":
				l.Default = rest
			case "fstab":
				l.fstab += rest + "\n"
				f := strings.Fields(rest)
				if _, subvol, is := strings.Cut(f[3], "subvol="); is && f[2] == "btrfs" && f[1] != "/" {
					subvol, _, _ = strings.Cut(subvol, ",")
					l.Mounts[f[1]] = strings.TrimPrefix(subvol, "/")
				}
			default:
				t.Fatalf("%s holds %q", n.Name(), line)
			}
		}
		list = append(list, l)
	}
	return list
}

// Get is the layout of that name.
func Get(t *testing.T, name string) Layout {
	t.Helper()
	for _, l := range All(t) {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("there is no layout %s", name)
	return Layout{}
}

// Fstab is its fstab on a file system of that UUID.
func (l Layout) Fstab(fsid string) string { return strings.ReplaceAll(l.fstab, "FSID", fsid) }

// Make makes it on an empty btrfs whose top level is mounted at top, with its
// fstab and the mount points in the root.
func (l Layout) Make(t *testing.T, top, fsid string) {
	t.Helper()
	for _, path := range l.subvols {
		at := filepath.Join(top, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		sh(t, "btrfs", "-q", "subvolume", "create", at)
	}
	root := filepath.Join(top, l.Root)
	for dir := range l.Mounts {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/fstab"), []byte(l.Fstab(fsid)), 0o644); err != nil {
		t.Fatal(err)
	}
	if l.Default != "" {
		sh(t, "btrfs", "-q", "subvolume", "set-default", filepath.Join(top, l.Default))
	}
}

func sh(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}
