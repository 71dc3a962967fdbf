package activate

import (
	"strings"
	"testing"

	"beadm/be"
)

func TestSameRoot(t *testing.T) {
	onZFS := be.RootRef{FS: "zfs", Label: "rpool", Prefix: "/ROOT/new@"}
	onBtrfs := be.RootRef{FS: "btrfs", FSUUID: "0c9d9c0e-1111-2222-3333-444455556666", Prefix: "/@be-new"}
	onLVM := be.RootRef{FS: "ext4", Args: []string{"root=/dev/vg/be_new"}}
	for _, c := range []struct {
		line string
		ref  be.RootRef
		says string // empty: it is that root, or none
	}{
		{"", onZFS, ""},
		{"# rpool/ROOT/old / zfs defaults 0 0", onZFS, ""},
		{"rpool/ROOT/new / zfs defaults 0 0", onZFS, ""},
		{"rpool/ROOT/old /. zfs defaults 0 0", onZFS, "rpool/ROOT/old is on /, and this is rpool/ROOT/new"},
		{"other/ROOT/new / zfs", onZFS, "other/ROOT/new is on /"},
		{"UUID=0c9d9c0e / ext4 errors=remount-ro 0 1", onZFS, "UUID=0c9d9c0e on / is ext4, and this is zfs"},
		{"UUID=0c9d9c0e /boot ext4 defaults 0 1", onZFS, ""},
		{"/dev/vda1 none swap sw 0 0", onZFS, ""},
		{"none / zfs defaults 0 0", onZFS, ""},
		{"none / none defaults 0 0", onZFS, ""},
		{"rootfs / zfs rw 0 0", onZFS, ""},
		{"rootfs / rootfs rw 0 0", onZFS, ""},
		{"rootfs / auto rw 0 0", onBtrfs, ""},
		{"none / btrfs subvol=@be-new 0 0", onBtrfs, ""},
		{"none / btrfs subvol=@debian 0 0", onBtrfs, "the subvolume /@debian"},
		{"none / tmpfs size=1G 0 0", onZFS, "none on / is tmpfs, and this is zfs"},
		{"LABEL=rpool / zfs defaults 0 0", onZFS, ""},
		{"LABEL=rpool / auto defaults 0 0", onZFS, ""},
		{"LABEL=debian / ext4 defaults 0 1", onZFS, "LABEL=debian on / is ext4"},
		{"UUID=1234567890123456789 / zfs defaults 0 0", onZFS, ""},
		{"UUID=0c9d9c0e / auto defaults 0 1", onZFS, "UUID=0c9d9c0e is on /"},
		{"/dev/vda3 / zfs defaults 0 0", onZFS, ""},
		{"rpool/ROOT/old / auto defaults 0 0", onZFS, "rpool/ROOT/old is on /"},
		{"UUID=0c9d9c0e-1111-2222-3333-444455556666 / btrfs noatime,subvol=@be-new 0 0", onBtrfs, ""},
		{`UUID="0C9D9C0E-1111-2222-3333-444455556666" / btrfs subvol=/@be-new,subvolid=300 0 0`, onBtrfs, ""},
		{"LABEL=debian / auto defaults 0 0", onBtrfs, ""},
		{"/dev/vda3 / btrfs defaults", onBtrfs, ""},
		{"/dev/vda3 / btrfs", onBtrfs, ""},
		{"/dev/vda3 / btrfs noatime,subvol=/@debian 0 0", onBtrfs, "the subvolume /@debian is on /, and this is /@be-new"},
		{"/dev/vda3 / btrfs subvol=@be-new/../@debian 0 0", onBtrfs, "the subvolume /@debian"},
		{`/dev/vda3 / btrfs subvol=@be-new\040 0 0`, onBtrfs, "the subvolume /@be-new "},
		{"UUID=11111111-1111-2222-3333-444455556666 / btrfs subvol=@be-new 0 0", onBtrfs, "the file system 11111111"},
		{"/dev/vda2 / ext4 defaults 0 1", onBtrfs, "/dev/vda2 on / is ext4, and this is btrfs"},
		{"/dev/vg/be_old / ext4 defaults 0 1", onLVM, "/dev/vg/be_old is on /, and this is /dev/vg/be_new"},
		{"/dev/mapper/vg-be_old / ext4 defaults 0 1", onLVM, "/dev/mapper/vg-be_old is on /"},
		{"/dev/mapper/vg-be_new / ext4 defaults 0 1", onLVM, ""},
		{"/dev/vg/be_new / ext4 defaults 0 1", onLVM, ""},
		{"/dev/dm-3 / ext4 defaults 0 1", onLVM, ""},
		{"UUID=0c9d9c0e / ext4 defaults 0 1", onLVM, ""},
		{"/dev/mapper/my--vg-be_a--b / ext4", be.RootRef{FS: "xfs", Args: []string{"root=/dev/my-vg/be_a-b"}}, ""},
	} {
		err := sameRoot(c.line+"\n", c.ref)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%q: %v, want %q", c.line, err, c.says)
		}
	}
}

func TestOwnDataset(t *testing.T) {
	ref := be.RootRef{FS: "zfs", Label: "rpool", Prefix: "/ROOT/new@"}
	for line, says := range map[string]string{
		"rpool/ROOT/old/var /var zfs defaults 0 0":   "rpool/ROOT/old/var is on /var, and this is rpool/ROOT/new",
		"rpool/ROOT/newer/var /var zfs defaults 0 0": "rpool/ROOT/newer/var is on /var",
		"rpool/ROOT/new/var /var zfs defaults 0 0":   "",
		"rpool/home /home zfs defaults 0 0":          "",
		"#rpool/ROOT/old/var /var zfs defaults 0 0":  "",
		"UUID=1 /boot ext4 defaults 0 0":             "",
	} {
		err := ownDataset(line+"\n", ref)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
