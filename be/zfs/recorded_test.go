package zfs

import (
	"embed"
	"path"
	"testing"
)

// Within the suite's binary, which is carried to guests alone.
//
//go:embed testdata
var testdata embed.FS

// The files are what zpool and zfs of OpenZFS 2.1.11 on Debian 12 print of a
// pool made with compatibility=grub2; after compatibility=off and zpool
// upgrade; after something was written to a dataset with compression=zstd; and
// the first label of a disk (testdata/vm/zfs.sh makes one).
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := testdata.ReadFile(path.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
