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

	"beadm/be"
)

// PartUUID returns the GUID of the GPT partition that dir is mounted from, as
// blkid(8) prints PARTUUID. It is read from the disk: udev may not have run.
func PartUUID(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", be.E(be.NoStore, "there is no loader directory %s: mount the ESP there, or give --loader-dir", dir)
	}
	sys, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return "", be.E(be.NoStore, "%s is not on a partition", dir)
	}
	id, err := partUUID(sys)
	if err != nil {
		return "", be.E(be.NoStore, "cannot tell which partition %s is on: %w", dir, err)
	}
	return id, nil
}

// partUUID is that of the partition with this directory in sysfs.
func partUUID(sys string) (string, error) {
	number, err := readNumber(filepath.Join(sys, "partition"))
	if err != nil {
		return "", fmt.Errorf("%s is no partition of a disk", filepath.Base(sys))
	}
	disk := filepath.Dir(sys)
	sector, err := readNumber(filepath.Join(disk, "queue", "logical_block_size"))
	if err != nil {
		return "", err
	}
	f, err := os.Open("/dev/" + strings.ReplaceAll(filepath.Base(disk), "!", "/"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	return gptPartition(f, int64(sector), number)
}

func readNumber(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// gptPartition reads the unique GUID of a partition, counted from 1, out of
// the table at a disk's beginning (UEFI 2.10, 5.3.2 and 5.3.3).
func gptPartition(disk io.ReaderAt, sector int64, number int) (string, error) {
	head := make([]byte, 92)
	if _, err := disk.ReadAt(head, sector); err != nil {
		return "", err
	}
	if string(head[:8]) != "EFI PART" {
		return "", fmt.Errorf("the disk has no GPT")
	}
	table := int64(binary.LittleEndian.Uint64(head[72:]))
	count, size := binary.LittleEndian.Uint32(head[80:]), binary.LittleEndian.Uint32(head[84:])
	if number < 1 || uint32(number) > count || size < 128 || size > 4096 {
		return "", fmt.Errorf("the disk's GPT has no partition %d", number)
	}
	g := make([]byte, 16)
	if _, err := disk.ReadAt(g, table*sector+int64(number-1)*int64(size)+16); err != nil {
		return "", err
	}
	// The first three fields are in little endian (UEFI 2.10, appendix A).
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g), binary.LittleEndian.Uint16(g[4:]),
		binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:16]), nil
}
