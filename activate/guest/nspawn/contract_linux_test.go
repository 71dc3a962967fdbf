package nspawn

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"beadm/activate/guest/guesttest"
)

func TestContract(t *testing.T) {
	disk := guesttest.NewDisk(t, "../../../testdata/demo/cached.sh")
	dir := filepath.Join(disk.Top, "machines")
	name := fmt.Sprintf("beadm-test-%d", os.Getpid())
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := New(Config{Dir: dir, LogDir: t.TempDir()})
	guesttest.Run(t, guesttest.Scene{Runtime: r, Guest: name, Root: filepath.Join(dir, name), Disk: disk})
	t.Run("ids of its own", func(t *testing.T) {
		name := name + "-ids"
		guesttest.Confined(t, guesttest.Scene{Runtime: r, Guest: name, Root: filepath.Join(dir, name), Disk: disk, Own: guesttest.Shift})
	})
}
