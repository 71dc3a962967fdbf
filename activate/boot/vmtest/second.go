//go:build linux

package vmtest

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// LoaderDisk makes a second disk with the loader of this one, as dd would:
// boot code and the FAT file system are the same, also in their UUID, the
// partitions' UUIDs are others. It returns its file.
func (d *Disk) LoaderDisk() string {
	d.t.Helper()
	file := filepath.Join(d.t.TempDir(), "second.img")
	from, err := os.Open(d.File)
	if err != nil {
		d.t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(file)
	if err != nil {
		d.t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.CopyN(to, from, rootStart); err == nil {
		err = to.Truncate(rootStart + 1<<20)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	// The table is made anew: it named a partition beyond this disk's end.
	d.gdisk(file, "-Z")
	d.gdisk(file, "-a", "2048", "-n1:2048:+1M", "-t1:ef02", "-n2:0:+64M", "-t2:ef00")
	if _, err := io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(from, 0, 440)); err != nil {
		d.t.Fatal(err) // the boot code
	}
	return file
}

// gdisk runs sgdisk(8), which complains of a table that is not whole and makes
// one all the same.
func (d *Disk) gdisk(file string, args ...string) string {
	d.t.Helper()
	out, err := exec.Command("sgdisk", append(args, file)...).CombinedOutput()
	if err != nil && args[0] != "-Z" {
		d.t.Fatalf("sgdisk %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// LoaderPartUUID is the UUID of the partition with the loader on a disk.
func (d *Disk) LoaderPartUUID(file string) string {
	d.t.Helper()
	for line := range strings.Lines(d.gdisk(file, "-i2")) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "Partition unique GUID: "); ok {
			return strings.ToLower(id)
		}
	}
	d.t.Fatal("sgdisk does not tell the UUID of the loader's partition")
	return ""
}

// NameLoader gives the partition with the loader on this disk another UUID: to
// whom knows it by that, it is not there.
func (d *Disk) NameLoader(uuid string) {
	d.t.Helper()
	d.gdisk(d.File, "-u2:"+uuid)
}
