package activate

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/state"
)

func TestHostIDs(t *testing.T) {
	is := func(err error, says string) {
		t.Helper()
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	one, two := []byte("\xbe\xad\xbe\xad"), []byte("\x01\x02\x03\x04")
	initrdHostID := func(root []byte, inside *boot.Initrd) error { return initrdHostID(systemID{file: root}, inside) }
	is(initrdHostID(one, nil), "")
	is(initrdHostID(nil, &boot.Initrd{}), "")
	is(initrdHostID(one, &boot.Initrd{HostID: one}), "")
	is(initrdHostID(one, &boot.Initrd{Unread: true}), "")
	is(initrdHostID(one, &boot.Initrd{}), "its initrd has no /etc/hostid")
	is(initrdHostID(one, &boot.Initrd{HostID: two}), "/etc/hostid in its initrd is not that in its root")
	is(initrdHostID(nil, &boot.Initrd{HostID: two}), "") // dracut's
	is(initrdHostID(one, &boot.Initrd{HostID: two, Unread: true}), "/etc/hostid in its initrd is not that in its root")
	is(poolHostID(one, 0xadbeadbe), "")
	is(poolHostID(one, 0), "")
	is(poolHostID(two, 0xadbeadbe), "its hostid is 04030201 and the pool is the host adbeadbe's: its initramfs would not import it; write that one (zgenhostid -f adbeadbe)")
	for arg, want := range map[string][2]bool{"spl.spl_hostid=0xadbeadbe": {true, false}, "spl_hostid=adbeadbe": {false, true},
		"spl.spl_hostid=0": {}, "spl.spl_hostid": {}, "spl_hostids=1": {}, "quiet": {}} {
		if got := [2]bool{isHostID(arg), givesHostID(arg)}; got != want {
			t.Errorf("%s: %v", arg, got)
		}
	}
}

// hostedPool is on a pool of that host.
type hostedPool struct {
	be.Store
	id uint32
}

func (hostedPool) Caps() be.Caps                            { return be.Caps{Kind: "zfs"} }
func (p hostedPool) HostID(context.Context) (uint32, error) { return p.id, nil }

// TestHostIDFromElsewhere: what modprobe or the kernel's arguments give the
// module outranks /etc/hostid (OpenZFS, spl(4); zone_get_hostid).
func TestHostIDFromElsewhere(t *testing.T) {
	const file = "\x01\x02\x03\x04" // 04030201 where the lowest byte comes first
	fileID := binary.NativeEndian.Uint32([]byte(file))
	param := []byte("options spl spl_hostid=0xadbeadbe\n")
	inInitrd := boot.Modprobe{"/etc/modprobe.d/zfs.conf": param}
	type system struct{ hostid, modprobe string }
	for _, c := range []struct {
		name         string
		ours, theirs system
		inside       *boot.Initrd
		pool         uint32
		kind         string
		args         []string
		cmdline      string
		says         string
	}{
		{"files alike", system{file, ""}, system{file, ""}, &boot.Initrd{HostID: []byte(file)}, fileID, "grub", nil, "", ""},
		{"another's pool", system{file, ""}, system{file, ""}, &boot.Initrd{HostID: []byte(file)}, 0xadbeadbe, "grub", nil, "", "the pool is the host"},
		{"files differ", system{file, ""}, system{"", ""}, &boot.Initrd{}, 0, "grub", nil, "", "/etc/hostid in it"},
		{"all by modprobe.d", system{"", string(param)}, system{"", string(param)}, &boot.Initrd{Modprobe: inInitrd}, 0xadbeadbe, "grub", nil, "", ""},
		{"files that do not count", system{file, string(param)}, system{"", string(param)}, &boot.Initrd{Modprobe: inInitrd}, 0xadbeadbe, "grub", nil, "", ""},
		{"an initrd's file that does not count", system{file, string(param)}, system{file, string(param)}, &boot.Initrd{HostID: []byte("\x05\x06\x07\x08"), Modprobe: inInitrd}, 0xadbeadbe, "grub", nil, "", ""},
		{"an initrd that nobody can read", system{file, string(param)}, system{file, string(param)}, &boot.Initrd{Unread: true}, 0xadbeadbe, "grub", nil, "", ""},
		{"an initrd made before", system{file, string(param)}, system{file, string(param)}, &boot.Initrd{HostID: []byte(file)}, 0xadbeadbe, "grub", nil, "", "the pool is the host"},
		{"only one by modprobe.d", system{file, ""}, system{file, string(param)}, &boot.Initrd{HostID: []byte(file), Modprobe: inInitrd}, fileID, "grub", nil, "", "spl_hostid in modprobe.d"},
		{"by an argument", system{file, ""}, system{"", ""}, &boot.Initrd{}, 0xadbeadbe, "grub", []string{"spl.spl_hostid=0xadbeadbe"}, "", ""},
		{"by an argument that says none", system{file, ""}, system{"", ""}, &boot.Initrd{}, 0, "grub", []string{"spl.spl_hostid=0"}, "", "/etc/hostid in it"},
		{"into the initrds", system{file, ""}, system{file, ""}, &boot.Initrd{}, 0xadbeadbe, "grub", []string{"spl_hostid=adbeadbe"}, "", ""},
		{"by ZFSBootMenu", system{file, ""}, system{"", ""}, &boot.Initrd{}, 0xadbeadbe, "zfsbootmenu", nil, "quiet spl.spl_hostid=0xadbeadbe\n", ""},
		{"this boot's alone", system{file, ""}, system{"", ""}, &boot.Initrd{}, 0, "grub", nil, "quiet spl.spl_hostid=0xadbeadbe\n", "/etc/hostid in it"},
	} {
		root := func(sys system) string {
			dir := t.TempDir()
			for name, text := range map[string]string{"etc/hostid": sys.hostid, "usr/lib/modprobe.d/spl.conf": sys.modprobe} {
				if text == "" {
					continue
				}
				if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			return dir
		}
		s := &Session{Target: &Target{Store: hostedPool{id: c.pool}, Root: root(c.ours), Cmdline: []byte(c.cmdline)},
			State: &state.State{Loader: state.LoaderConfig{Kind: c.kind, Args: c.args}}}
		err := s.sameHostid(t.Context(), root(c.theirs), c.inside)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}
