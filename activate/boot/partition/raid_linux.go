package partition

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"beadm/activate/boot/efivar"
	"beadm/be"
)

// Drives returns the partitions that the firmware finds the file system
// mounted at dir on: one, or, of an md mirror with its superblock at the end
// (metadata 0.90 or 1.0, md(4)), each member. A mirror that lacks one is
// refused: what fell out of it keeps older files that the firmware may read.
func Drives(dir string) ([]efivar.HardDrive, error) {
	sys, err := sysDevice(dir)
	if err != nil {
		return nil, err
	}
	members := []string{sys}
	if _, err := os.Stat(filepath.Join(sys, "md")); err == nil {
		if members, err = mirrorMembers(sys); err != nil {
			return nil, be.E(be.Unbootable, "%s: %w", dir, err)
		}
	}
	var drives []efivar.HardDrive
	for _, m := range members {
		drive, err := gptDrive(m)
		if err != nil {
			return nil, be.E(be.NoStore, "cannot tell which partition %s is on: %w", dir, err)
		}
		drives = append(drives, drive)
	}
	return drives, nil
}

// Mirror says why the md array with that directory in sysfs is none whose
// members are all there and alike.
func Mirror(sys string) error {
	name := filepath.Base(sys)
	read := func(attribute string) string {
		b, _ := os.ReadFile(filepath.Join(sys, "md", attribute))
		return strings.TrimSpace(string(b))
	}
	if level := read("level"); level != "raid1" {
		return fmt.Errorf("%s is %s and no RAID 1", name, level)
	}
	if n := read("degraded"); n != "0" {
		return fmt.Errorf("the mirror %s lacks %s of its members, and what fell out of it keeps older files that would be read: mend it first (mdadm(8))", name, n)
	}
	return nil
}

func mirrorMembers(sys string) ([]string, error) {
	if err := Mirror(sys); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(sys, "md", "metadata_version"))
	if v := strings.TrimSpace(string(b)); err != nil || v != "0.90" && v != "1.0" {
		return nil, fmt.Errorf("the mirror %s has metadata %s, with which the firmware finds no file system on its members: 1.0 is read", filepath.Base(sys), v)
	}
	links, err := filepath.Glob(filepath.Join(sys, "slaves", "*"))
	if err != nil {
		return nil, err
	}
	var members []string
	for _, link := range links {
		m, err := filepath.EvalSymlinks(link)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	if len(members) == 0 {
		return nil, fmt.Errorf("the mirror %s has no members", filepath.Base(sys))
	}
	return members, nil
}

// raidMember says whether a device of that many bytes is a member of an md
// array whose superblock is at its end, so that it looks like the file system
// itself (Linux, include/uapi/linux/raid/md_p.h; drivers/md/md.c, super_1_load,
// calc_dev_sboffset): to mount it would be to write one half of a mirror.
func raidMember(r io.ReaderAt, size int64) bool {
	const magic = 0xa92b4efc
	for _, at := range []int64{
		(size/512 - 16) &^ 7 * 512, // 1.0
		size&^0xffff - 0x10000,     // 0.90
	} {
		b := make([]byte, 4)
		if at <= 0 {
			continue
		}
		if _, err := r.ReadAt(b, at); err == nil && (binary.LittleEndian.Uint32(b) == magic || binary.BigEndian.Uint32(b) == magic) {
			return true
		}
	}
	return false
}
