package btrfs

import (
	"errors"
	"testing"

	"beadm/be/mounttable"
)

// One that is destroyed while another command lists is not listed, and no
// error.
func TestListBesideDestroy(t *testing.T) {
	device, top := newDisk(t)
	for _, sub := range []string{"@rootfs", "@be-stays", "@be-goes"} {
		run(t, "btrfs", "-q", "subvolume", "create", top+"/"+sub)
	}
	s := openStore(t, Config{Root: mountAt(t, device, "subvol=@rootfs")})
	if _, err := s.Adopt(t.Context(), "goes"); err != nil {
		t.Fatal(err)
	}
	woods, err := s.scan()
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.findIn(woods, "goes")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "btrfs", "-q", "subvolume", "delete", top+"/@be-goes")
	list, err := s.entries(woods)
	if err != nil {
		t.Fatal(err)
	}
	if taken(list, "goes") || !taken(list, "stays") {
		t.Errorf("what is listed: %v", list)
	}
	table, err := mounttable.Read()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.describe(woods, before, table); !errors.Is(err, errGone) {
		t.Errorf("describing it: %v", err)
	}
}
