package partition

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/activate/boot/efivar"
	"beadm/be"
)

// PartUUID returns the GUID of the GPT partition that dir is mounted from, as
// blkid(8) prints PARTUUID. It is read from the disk: udev may not have run.
func PartUUID(dir string) (string, error) {
	sys, err := sysDevice(dir)
	if err != nil {
		return "", err
	}
	drive, err := gptDrive(sys)
	if err != nil {
		return "", be.E(be.NoStore, "cannot tell which partition %s is on: %w", dir, err)
	}
	return drive.GUID, nil
}

// sysDevice is the directory in sysfs of the block device that dir is mounted
// from.
func sysDevice(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", be.E(be.NoStore, "there is no loader directory %s: mount the ESP there, or give --loader-dir", dir)
	}
	sys, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return "", be.E(be.NoStore, "%s is not on a partition", dir)
	}
	return sys, nil
}

// gptDrive reads what the partition with that directory in sysfs is called in
// its disk's GPT.
func gptDrive(sys string) (efivar.HardDrive, error) {
	number, err := readNumber(filepath.Join(sys, "partition"))
	if err != nil {
		return efivar.HardDrive{}, fmt.Errorf("%s is no partition of a disk", filepath.Base(sys))
	}
	disk := filepath.Dir(sys)
	sector, err := readNumber(filepath.Join(disk, "queue", "logical_block_size"))
	if err != nil {
		return efivar.HardDrive{}, err
	}
	f, err := os.Open("/dev/" + strings.ReplaceAll(filepath.Base(disk), "!", "/"))
	if err != nil {
		return efivar.HardDrive{}, err
	}
	defer f.Close()
	return gptPartition(f, int64(sector), number)
}

// partUUID is that of the partition with this directory in sysfs.
func partUUID(sys string) (string, error) {
	drive, err := gptDrive(sys)
	return drive.GUID, err
}

func readNumber(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// gptPartition reads where a partition is, counted from 1, out of the table at
// a disk's beginning (UEFI 2.10, 5.3.2 and 5.3.3).
func gptPartition(disk io.ReaderAt, sector int64, number int) (efivar.HardDrive, error) {
	none := efivar.HardDrive{}
	head := make([]byte, 92)
	if _, err := disk.ReadAt(head, sector); err != nil {
		return none, err
	}
	if string(head[:8]) != "EFI PART" {
		return none, fmt.Errorf("the disk has no GPT")
	}
	table := int64(binary.LittleEndian.Uint64(head[72:]))
	count, size := binary.LittleEndian.Uint32(head[80:]), binary.LittleEndian.Uint32(head[84:])
	if number < 1 || uint32(number) > count || size < 128 || size > 4096 {
		return none, fmt.Errorf("the disk's GPT has no partition %d", number)
	}
	entry := make([]byte, 48)
	if _, err := disk.ReadAt(entry, table*sector+int64(number-1)*int64(size)); err != nil {
		return none, err
	}
	g := entry[16:32]
	first, last := binary.LittleEndian.Uint64(entry[32:]), binary.LittleEndian.Uint64(entry[40:])
	return efivar.HardDrive{
		Number: uint32(number), Start: first, Size: last - first + 1,
		// The first three fields are in little endian (UEFI 2.10, appendix A).
		GUID: fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g), binary.LittleEndian.Uint16(g[4:]),
			binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:16]),
	}, nil
}
