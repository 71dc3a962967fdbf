package lvm

import (
	"fmt"
	"testing"
)

func TestRewriteFstab(t *testing.T) {
	for in, want := range map[string]string{
		"/dev/vg/root / ext4 defaults 0 1\n":                         "/dev/vg/be_new / ext4 defaults 0 1\n",
		"# /dev/vg/root / ext4\n\t/dev/mapper/vg-root  /\txfs x 0 0": "# /dev/vg/root / ext4\n\t/dev/vg/be_new  /\txfs x 0 0",
		"UUID=1234 / ext4 defaults\nUUID=1234 /home ext4 x\n":        "/dev/vg/be_new / ext4 defaults\nUUID=1234 /home ext4 x\n",
		"LABEL=root // ext4\n":                                       "/dev/vg/be_new // ext4\n",
		"/dev/mapper/vg-be_new / ext4\n":                             "/dev/mapper/vg-be_new / ext4\n",
		"none / none\n":                                              "none / none\n",
		"":                                                           "",
	} {
		if got := rewriteFstab(in, "vg", "be_new"); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestRootOption(t *testing.T) {
	for _, c := range []struct{ in, sealed, open string }{
		{"/dev/vg/root / ext4 errors=remount-ro 0 1\n", "/dev/vg/root / ext4 errors=remount-ro,ro 0 1\n", "/dev/vg/root / ext4 errors=remount-ro 0 1\n"},
		{"# / / ext4 x\na\t/\text4\trw,noatime\t0 1", "# / / ext4 x\na\t/\text4\tnoatime,ro\t0 1", "# / / ext4 x\na\t/\text4\trw,noatime\t0 1"},
		{"a // xfs\nb /home xfs x\n", "a // xfs ro\nb /home xfs x\n", "a // xfs\nb /home xfs x\n"},
		{"a / xfs ro\n", "a / xfs ro\n", "a / xfs defaults\n"},
		{"a / xfs ro,discard 0 0\n", "a / xfs ro,discard 0 0\n", "a / xfs discard 0 0\n"},
		{"", "", ""},
	} {
		if got := withRootOption(c.in, true); got != c.sealed {
			t.Errorf("%q became %q, want %q", c.in, got, c.sealed)
		}
		if got := withRootOption(c.in, false); got != c.open {
			t.Errorf("%q became %q, want %q", c.in, got, c.open)
		}
	}
}

func TestApart(t *testing.T) {
	for text, want := range map[string]string{
		"/dev/vg/usr /usr ext4 defaults 0 2\nUUID=1 /var xfs x\n":                       "[/usr /var]",
		"/dev/vg/home /home ext4 x\nUUID=2 /boot ext4 x\n/dev/vg/log /var/log ext4 x\n": "[]",
		"/srv/usr /usr none bind\n/dev/x /usr/ ext4 ro,bind\n#/dev/x /usr ext4 x\n":     "[]",
		"tmpfs /var tmpfs x\n": "[]",
	} {
		if got := fmt.Sprint(apart(text)); got != want {
			t.Errorf("of %q %s are apart, want %s", text, got, want)
		}
	}
}
