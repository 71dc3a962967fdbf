package zfs

import (
	"bytes"
	"os"
	"testing"
)

// The label is that of a pool on Debian 12's OpenZFS 2.1.11, whose /etc/hostid
// was be ad be ad (testdata/vm/zfs.sh makes one).
func TestLabelHost(t *testing.T) {
	label, err := os.ReadFile("testdata/label-openzfs-2.1.11.bin")
	if err != nil {
		t.Fatal(err)
	}
	pool, id, err := labelHost(label)
	if pool != "rpool" || id != 0xadbeadbe || err != nil {
		t.Errorf("%q %08x %v", pool, id, err)
	}
	// As it lies on a disk.
	if pool, id, err := labelHost(append(bytes.Clone(label), make([]byte, labelSize-len(label))...)); pool != "rpool" || id != 0xadbeadbe || err != nil {
		t.Errorf("%q %08x %v", pool, id, err)
	}
	// A pool that no hostid was written to.
	none := bytes.Replace(label, []byte("hostid"), []byte("hostie"), 1)
	if pool, id, err := labelHost(none); pool != "rpool" || id != 0 || err != nil {
		t.Errorf("%q %08x %v", pool, id, err)
	}
	for n := range label {
		if _, _, err := labelHost(label[:n]); err == nil {
			t.Errorf("a label of %d bytes of %d is whole", n, len(label))
		}
	}
	for i := range label {
		spoilt := bytes.Clone(label)
		spoilt[i] ^= 0xff
		labelHost(spoilt) // returns
	}
	if _, _, err := labelHost(make([]byte, labelSize)); err == nil {
		t.Error("a disk of zeros has a label")
	}
}

func FuzzLabelHost(f *testing.F) {
	label, err := os.ReadFile("testdata/label-openzfs-2.1.11.bin")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(label)
	f.Fuzz(func(t *testing.T, b []byte) { labelHost(b) })
}
