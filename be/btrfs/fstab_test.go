package btrfs

import "testing"

func TestFstabNamesItsOwnRoot(t *testing.T) {
	for _, tt := range []struct{ what, in, want string }{
		{"as Debian writes it", "UUID=1 /\tbtrfs  rw,subvol=@rootfs,noatime 0 0\n", "UUID=1 /\tbtrfs  rw,subvol=@be-new,noatime 0 0\n"},
		{"with a slash", "UUID=1 / btrfs subvol=/@ 0 1\n", "UUID=1 / btrfs subvol=/@be-new 0 1\n"},
		{"both kinds", "UUID=1 / btrfs subvolid=256,subvol=/@,ssd 0 1\n", "UUID=1 / btrfs subvol=/@be-new,ssd 0 1\n"},
		{"by number alone", "UUID=1 / btrfs ssd,subvolid=256\n", "UUID=1 / btrfs ssd,subvol=@be-new\n"},
		{"no subvolume named, as openSUSE writes it", "UUID=1  /    btrfs  defaults      0  0\n", "UUID=1  /    btrfs  defaults,subvol=@be-new      0  0\n"},
		{"another file system", "UUID=1 / ext4 subvol=@ 0 1\n", "UUID=1 / ext4 subvol=@ 0 1\n"},
		{"another mount point", "UUID=1 /home btrfs subvol=@home 0 1\n", "UUID=1 /home btrfs subvol=@home 0 1\n"},
		{"a comment", "# UUID=1 / btrfs subvol=@ 0 1\n", "# UUID=1 / btrfs subvol=@ 0 1\n"},
		{"the option's text elsewhere", "LABEL=subvol=@ / btrfs subvol=@ 0 1 # subvol=@\n", "LABEL=subvol=@ / btrfs subvol=@be-new 0 1 # subvol=@\n"},
		{"leading blanks, no newline at the end", "\n  LABEL=a  /  btrfs  subvol=@", "\n  LABEL=a  /  btrfs  subvol=@be-new"},
		{"several lines", "a / btrfs subvol=@\nb /x btrfs subvol=@\n", "a / btrfs subvol=@be-new\nb /x btrfs subvol=@\n"},
	} {
		if got := rewriteFstab(tt.in, "@be-new"); got != tt.want {
			t.Errorf("%s: %q became %q, want %q", tt.what, tt.in, got, tt.want)
		}
		if again := rewriteFstab(rewriteFstab(tt.in, "@be-new"), "@be-new"); again != tt.want {
			t.Errorf("%s: a second time made it %q", tt.what, again)
		}
	}
	if got := rewriteFstab("a / btrfs subvol=@\n", "a b/@be-x"); got != "a / btrfs subvol=a\\040b/@be-x\n" {
		t.Errorf("a path with a blank became %q", got)
	}
}

func TestWhatBelongs(t *testing.T) {
	fstab := fstabMounts("a / btrfs subvol=@\n#b /srv btrfs x\nc /opt/data/ xfs x\nnone none swap sw\nd /with\\040blank ext4 x\n")
	for path, want := range map[string]bool{
		"var":                             true,
		"var/lib/machines":                false,
		"var/lib/machines/web":            false,
		"var/lib/machinesque":             true,
		"var/lib/docker/btrfs/subvolumes": false,
		"var/lib/portables":               false,
		"home":                            false,
		"homes":                           true,
		"srv":                             true,
		"opt/data":                        false,
		"opt/data/inner":                  false,
		"opt":                             true,
		"with blank":                      false,
		".snapshots":                      false,
		"var/.snapshots/3/snapshot":       false,
		"srv/guest/@be-one":               false,
		"srv/guest/@varshare":             false,
		"srv/guest/@beadm-snapshots/x/y":  false,
	} {
		if got := belongs(path, fstab); got != want {
			t.Errorf("belongs(%q) is %v", path, got)
		}
	}
}

func TestShownName(t *testing.T) {
	for subvol, want := range map[string]string{
		"@": "default", "@rootfs": "rootfs", "root": "root", "@my root": "my-root", "@@x": "x", "ROOT.1": "ROOT.1", "@-": "default",
	} {
		if got := shownName(subvol); got != want {
			t.Errorf("shownName(%q) is %q, want %q", subvol, got, want)
		}
	}
}

func TestSnapperNumber(t *testing.T) {
	for path, want := range map[string]string{
		"@/.snapshots/1/snapshot":  "1",
		".snapshots/42/snapshot":   "42",
		"@snapshots/7/snapshot":    "7",
		"1/snapshot":               "",
		"snapshot":                 "",
		"@/.snapshots/1a/snapshot": "",
		"@/.snapshots/1/snapshots": "",
		"@/.snapshots/snapshot":    "",
		"@rootfs":                  "",
	} {
		if got := snapperNumber(path); got != want {
			t.Errorf("snapperNumber(%q) is %q, want %q", path, got, want)
		}
	}
}
