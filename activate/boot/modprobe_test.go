package boot

import "testing"

func TestModprobeHostID(t *testing.T) {
	for _, c := range []struct {
		name  string
		files Modprobe
		want  uint32
	}{
		{"none", nil, 0},
		{"one", Modprobe{"/etc/modprobe.d/zfs.conf": []byte("options zfs zfs_arc_max=1\noptions spl spl_hostid=0xadbeadbe\n")}, 0xadbeadbe},
		{"decimal", Modprobe{"/etc/modprobe.d/zfs.conf": []byte("options spl other=1 spl_hostid=16909060\n")}, 0x01020304},
		{"continued", Modprobe{"/etc/modprobe.d/zfs.conf": []byte("options spl \\\n  spl_hostid=0x1\n")}, 1},
		{"commented out", Modprobe{"/etc/modprobe.d/zfs.conf": []byte(" # options spl spl_hostid=0x1\n#\\\noptions spl spl_hostid=0x2\n")}, 2},
		{"another's", Modprobe{"/etc/modprobe.d/zfs.conf": []byte("options zfs spl_hostid=1\nblacklist spl\n")}, 0},
		{"the last counts", Modprobe{"/etc/modprobe.d/b.conf": []byte("options spl spl_hostid=2\n"), "/lib/modprobe.d/a.conf": []byte("options spl spl_hostid=1\n")}, 2},
		{"/etc hides", Modprobe{"/etc/modprobe.d/a.conf": []byte(""), "/lib/modprobe.d/a.conf": []byte("options spl spl_hostid=1\n")}, 0},
		{"0 is none", Modprobe{"/etc/modprobe.d/a.conf": []byte("options spl spl_hostid=0x0\n")}, 0},
		{"no number", Modprobe{"/etc/modprobe.d/a.conf": []byte("options spl spl_hostid=host\n")}, 0},
	} {
		if got := c.files.HostID(); got != c.want {
			t.Errorf("%s: %08x, want %08x", c.name, got, c.want)
		}
	}
}
