package activate

import (
	"fmt"
	"strings"
	"testing"

	"beadm/be"
)

func TestFstabOfAnImport(t *testing.T) {
	btrfs := be.RootRef{FS: "btrfs", FSUUID: "aa-bb", Prefix: "/@be-new", Args: []string{"root=UUID=aa-bb", "rootflags=subvol=@be-new"}}
	zfs := be.RootRef{FS: "zfs", Label: "rpool", Prefix: "/ROOT/new@", Args: []string{"root=ZFS=rpool/ROOT/new"}}
	dir := be.RootRef{FS: "ext4", Prefix: "/srv/new"}
	lvm := be.RootRef{FS: "xfs", Args: []string{"root=/dev/vg/new"}}
	for _, tt := range []struct {
		ref        be.RootRef
		text, want string
	}{
		{btrfs, "# c\nUUID=11 / ext4 errors=remount-ro 0 1\n/dev/sdb1 /data xfs defaults 0 2", "# c\nUUID=aa-bb / btrfs defaults,subvol=/@be-new 0 1\n/dev/sdb1 /data xfs defaults 0 2"},
		{btrfs, "UUID=11\t/\tbtrfs\tnoatime,subvol=@,subvolid=256 0 0\n", "UUID=aa-bb / btrfs noatime,subvol=/@be-new 0 0\n"},
		{btrfs, "UUID=11 / btrfs", "UUID=aa-bb / btrfs defaults,subvol=/@be-new 0 0"},
		{btrfs, "none / none defaults 0 0\n", "none / none defaults 0 0\n"},
		{btrfs, "", ""},
		{zfs, "UUID=11 / ext4 defaults 0 1\n", "# UUID=11 / ext4 defaults 0 1\n"},
		{zfs, "other/ROOT/x / zfs defaults 0 0\n", "# other/ROOT/x / zfs defaults 0 0\n"},
		{zfs, "rpool/ROOT/new / zfs defaults 0 0\n", "rpool/ROOT/new / zfs defaults 0 0\n"},
		{dir, "UUID=11 / ext4 defaults 0 1\n", "UUID=11 / ext4 defaults 0 1\n"},
		{lvm, "UUID=11 / ext4 errors=remount-ro 0 1\n", "/dev/vg/new / xfs defaults 0 1\n"},
	} {
		got := withOwnRoot(tt.text, tt.ref)
		if got != tt.want {
			t.Errorf("on %s %q became %q, not %q", tt.ref.FS, tt.text, got, tt.want)
		}
		for line := range strings.Lines(got) {
			if err := sameRoot(line, tt.ref); err != nil {
				t.Errorf("%q would not be activated: %v", line, err)
			}
		}
	}
	here := func(source string) bool { return source == "/dev/sda1" || source == "proc" }
	list := foreignMounts("/dev/sda1 /boot ext4 defaults 0 1\nUUID=9 / ext4 defaults 0 1\n#UUID=1 /x ext4 a\nUUID=2 /data ext4 defaults 0 0\nUUID=3 /usb ext4 nofail 0 0\nUUID=4 none swap sw 0 0\nproc /proc proc defaults 0 0\n", here)
	if got := fmt.Sprint(list); got != "[{UUID=2 /data} {UUID=4 none}]" {
		t.Errorf("not here are %s", got)
	}
}
