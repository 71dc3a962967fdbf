// Package blockdev says what is between a block device and the disks.
package blockdev

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Unknown stands for what is below devices of which sysfs tells nothing: no
// loader is said to read that.
const Unknown = "unknown_devices"

// Layers are what somebody who reads the device must know, below the directory
// of it in sysfs: "dm-crypt", "lvm", "device-mapper" for other kinds of that,
// "md"; nothing for a disk or a partition. Sorted.
func Layers(sys string) ([]string, error) {
	var found []string
	err := walk(sys, &found, 0)
	slices.Sort(found)
	return slices.Compact(found), err
}

// maxDepth is more than any stack has.
const maxDepth = 16

func walk(sys string, found *[]string, depth int) error {
	if depth > maxDepth {
		return errors.New("block devices are stacked in a circle")
	}
	uuid, err := os.ReadFile(filepath.Join(sys, "dm", "uuid"))
	switch {
	case err == nil:
		*found = append(*found, deviceMapper(string(uuid)))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, err := os.Stat(filepath.Join(sys, "md")); err == nil {
		*found = append(*found, "md")
	}
	slaves, err := os.ReadDir(filepath.Join(sys, "slaves"))
	if errors.Is(err, fs.ErrNotExist) { // partitions have none
		if _, perr := os.Stat(filepath.Join(sys, "partition")); perr != nil {
			return nil
		}
		// Of a disk that is itself stacked: a partition of md or multipath.
		return walk(filepath.Dir(sys), found, depth+1)
	}
	if err != nil {
		return err
	}
	for _, s := range slaves {
		below, err := filepath.EvalSymlinks(filepath.Join(sys, "slaves", s.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a disk that was just pulled out
		}
		if err == nil {
			err = walk(below, found, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deviceMapper names the kind by what made it (libdevmapper: the uuid begins
// with its name).
func deviceMapper(uuid string) string {
	switch {
	case strings.HasPrefix(uuid, "CRYPT-"):
		return "dm-crypt"
	case strings.HasPrefix(uuid, "LVM-"):
		return "lvm"
	}
	return "device-mapper"
}
