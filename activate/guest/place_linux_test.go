package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"beadm/be"
)

// mounted is a Storage that unmounts all that is in a root, as that of ZFS does.
type mounted struct {
	subvolumes
	detached, attached *[]string
}

func (m mounted) Attach(_ Place, name string) error {
	*m.attached = append(*m.attached, name)
	return nil
}

func (m mounted) Detach(p Place, name string) error {
	*m.detached = append(*m.detached, name)
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(filepath.Join(p.Dir(), name)))
	for _, at := range mounts {
		err = errors.Join(err, unix.Unmount(at.Mountpoint, 0))
	}
	return err
}

// What the host has mounted in a root stays there when the guest is to start from
// another, and keeps the root from being given back.
func TestHostsMountStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: mounting takes root")
	}
	var detached, attached []string
	p := Place{Root: filepath.Join(t.TempDir(), "web1"), Storage: mounted{detached: &detached, attached: &attached}}
	for _, dir := range []string{"@be-old/srv", "@be-new"} {
		if err := os.MkdirAll(filepath.Join(p.Dir(), dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(p.link("@be-old"), p.Root); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(p.Dir(), "@be-old/srv")
	if err := unix.Mount("backup", at, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(at, 0) })
	if err := p.Release(); be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), "backup at /srv") {
		t.Errorf("release: %v", err)
	}
	for _, name := range []string{"@be-new", "@be-old", "@be-old"} {
		if err := p.Point(name); err != nil {
			t.Fatal(err)
		}
		if is, _, err := p.Current(); is != name {
			t.Errorf("it starts from %s: %v", is, err)
		}
		if is, err := mountinfo.Mounted(at); !is {
			t.Fatalf("the host's mount is gone: %v", err)
		}
	}
	if strings.Join(detached, " ") != "@be-new" || strings.Join(attached, " ") != "@be-new @be-old @be-old" {
		t.Errorf("detached were %q, attached %q", detached, attached)
	}
}
