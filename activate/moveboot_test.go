package activate

import (
	"strings"
	"testing"
)

// TestMovePoint: only the mount point of one line changes.
func TestMovePoint(t *testing.T) {
	const other = "# /boot was on /dev/sda1\nUUID=1 / ext4 errors=remount-ro 0 1\nUUID=3 /boot/efi vfat umask=0077 0 1\n"
	for text, want := range map[string]string{
		other + "UUID=2 /boot ext4 defaults 0 2\n":                    other + "UUID=2 /boot/beadm ext4 defaults 0 2\n",
		other + "  /dev/disk/by-label/boot\t/boot/   ext2 noatime":    other + "  /dev/disk/by-label/boot\t/boot/beadm   ext2 noatime",
		"/boot /boot none bind\n":                                     "/boot /boot/beadm none bind\n",
		"LABEL=\"boot\" /bo\\157t vfat x\nLABEL=boot\t/boot vfat x\n": "LABEL=\"boot\" /bo\\157t vfat x\nLABEL=boot\t/boot/beadm vfat x\n",
		other: "no line",
		other + "UUID=2 /boot ext4 x\nUUID=4 //boot ext4 x\n":       "two lines",
		other + "UUID=2 /boot ext4 x\nUUID=4 /boot/beadm ext4 x\n":  "another line",
		other + "UUID=2 /boot ext4 rw,x-systemd.automount,nofail\n": "automount",
		"#UUID=2 /boot ext4 x\nUUID=2 none swap\n":                  "no line",
	} {
		got, _, err := movePoint(text, "/boot", "/boot/beadm")
		if err != nil {
			if got = err.Error(); strings.Contains(got, want) {
				continue
			}
		}
		if got != want {
			t.Errorf("%q becomes\n%q, not\n%q", text, got, want)
		}
	}
}
