package zfs

import (
	"bytes"
	"testing"
)

// The label is that of a pool on Debian 12's OpenZFS 2.1.11, whose /etc/hostid
// was be ad be ad (testdata/vm/zfs.sh makes one).
func TestLabelHost(t *testing.T) {
	label := recorded(t, "label-openzfs-2.1.11.bin")
	pool, id, _, err := labelHost(label)
	if pool != "rpool" || id != 0xadbeadbe || err != nil {
		t.Errorf("%q %08x %v", pool, id, err)
	}
	// As it lies on a disk.
	if pool, id, _, err := labelHost(append(bytes.Clone(label), make([]byte, labelSize-len(label))...)); pool != "rpool" || id != 0xadbeadbe || err != nil {
		t.Errorf("%q %08x %v", pool, id, err)
	}
	// A pool that no hostid was written to.
	none := bytes.Replace(label, []byte("hostid"), []byte("hostie"), 1)
	if pool, id, _, err := labelHost(none); pool != "rpool" || id != 0 || err != nil {
		t.Errorf("%q %08x %v", pool, id, err)
	}
	for n := range label {
		if _, _, _, err := labelHost(label[:n]); err == nil {
			t.Errorf("a label of %d bytes of %d is whole", n, len(label))
		}
	}
	for i := range label {
		spoilt := bytes.Clone(label)
		spoilt[i] ^= 0xff
		labelHost(spoilt) // returns
	}
	if _, _, _, err := labelHost(make([]byte, labelSize)); err == nil {
		t.Error("a disk of zeros has a label")
	}
}

// A disk that was away has the label of before: of another host, say.
func TestNewestHost(t *testing.T) {
	label := recorded(t, "label-openzfs-2.1.11.bin")
	at := bytes.Index(label, []byte("txg\x00")) + len("txg\x00") + 4 + 4 + 7
	newer := bytes.Clone(label)
	newer[at]++
	old := bytes.Replace(label, []byte("hostid"), []byte("hostie"), 1)
	disks := map[string][]byte{"/dev/a": old, "/dev/b": newer, "/dev/c": label, "/dev/spare": nil}
	for list, want := range map[string]uint32{
		"rpool\t9G\tONLINE\n\t/dev/a\t9G\tONLINE\n\t/dev/b\t9G\tONLINE\n\t/dev/spare\t-\tAVAIL\n": 0xadbeadbe,
		"rpool\t9G\tONLINE\n\t/dev/b\t9G\tONLINE\n\t/dev/a\t9G\tONLINE\n":                         0xadbeadbe,
		"rpool\t9G\tDEGRADED\n\t/dev/a\t9G\tOFFLINE\n\t/dev/c\t9G\tONLINE\n":                      0xadbeadbe,
		"rpool\t9G\tONLINE\n\t/dev/a\t9G\tONLINE\n":                                               0,
	} {
		id, err := newestHost(list, "rpool", func(disk string) ([]byte, error) { return disks[disk], nil })
		if id != want || err != nil {
			t.Errorf("%q: %08x %v, wanted %08x", list, id, err, want)
		}
	}
	if _, err := newestHost("rpool\t9G\tONLINE\n", "rpool", readLabel); err == nil {
		t.Error("a pool without a disk has a hostid")
	}
}

func FuzzLabelHost(f *testing.F) {
	label := recorded(f, "label-openzfs-2.1.11.bin")
	f.Add(label)
	f.Fuzz(func(t *testing.T, b []byte) { labelHost(b) })
}
