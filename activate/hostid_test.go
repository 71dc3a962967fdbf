package activate

import (
	"strings"
	"testing"

	"beadm/activate/boot"
)

func TestHostIDs(t *testing.T) {
	is := func(err error, says string) {
		t.Helper()
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	one, two := []byte("\xbe\xad\xbe\xad"), []byte("\x01\x02\x03\x04")
	is(initrdHostID(one, nil), "")
	is(initrdHostID(nil, &boot.Initrd{}), "")
	is(initrdHostID(one, &boot.Initrd{HostID: one}), "")
	is(initrdHostID(one, &boot.Initrd{Unread: true}), "")
	is(initrdHostID(one, &boot.Initrd{}), "its initrd has no /etc/hostid")
	is(initrdHostID(one, &boot.Initrd{HostID: two}), "/etc/hostid in its initrd is not that in its root")
	is(initrdHostID(nil, &boot.Initrd{HostID: two}), "/etc/hostid in its initrd is not that in its root")
	is(initrdHostID(one, &boot.Initrd{HostID: two, Unread: true}), "/etc/hostid in its initrd is not that in its root")
	is(poolHostID(one, 0xadbeadbe), "")
	is(poolHostID(one, 0), "")
	is(poolHostID(two, 0xadbeadbe), "its /etc/hostid is 04030201 and the pool is the host adbeadbe's: its initramfs would not import it; write that one (zgenhostid -f adbeadbe)")
	for arg, want := range map[string]bool{"spl.spl_hostid=0xadbeadbe": true, "spl_hostid=adbeadbe": true, "spl_hostids=1": false, "quiet": false} {
		if givesHostID(arg) != want {
			t.Error(arg)
		}
	}
}
