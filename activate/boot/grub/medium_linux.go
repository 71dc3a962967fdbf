package grub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/activate/boot/partition"
	"beadm/be"
)

// mount is one line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	dev     string // major:minor
	root    string
	point   string
	options []string // of the mount and of the file system
	fstype  string
}

func parseMountinfo(text string) ([]mount, error) {
	var list []mount
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		left, right, ok := strings.Cut(line, " - ")
		a, b := strings.Fields(left), strings.Fields(right)
		if !ok || len(a) < 6 || len(b) < 3 {
			return nil, fmt.Errorf("unexpected line in mountinfo: %q", line)
		}
		list = append(list, mount{
			dev: a[2], root: unoctal(a[3]), point: unoctal(a[4]), fstype: b[0],
			options: append(strings.Split(a[5], ","), strings.Split(b[len(b)-1], ",")...),
		})
	}
	return list, nil
}

// unoctal undoes the kernel's \040 for blanks.
func unoctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			n := 0
			for _, c := range s[i+1 : i+4] {
				n = n*8 + int(c-'0')
			}
			if n >= 0 && n < 256 {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (m mount) has(option string) bool {
	for _, o := range m.options {
		if o == option {
			return true
		}
	}
	return false
}

// medium finds out what Dir is on, and refuses what GRUB cannot read.
func (l *Loader) medium() (medium, error) {
	if l.cfg.AnyMedium {
		return medium{uuid: "0000-0000"}, nil
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return medium{}, be.E(be.NoStore, "cannot see what is mounted: %w", err)
	}
	mounts, err := parseMountinfo(string(text))
	if err != nil {
		return medium{}, be.E(be.NoStore, "cannot see what is mounted: %w", err)
	}
	dir, err := filepath.Abs(l.cfg.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return medium{}, be.E(be.NoStore, "GRUB's partition: %w", err)
	}
	var m mount
	for _, c := range mounts { // a later mount hides an earlier one
		if c.point == dir {
			m = c
		}
	}
	// What is mounted on what is visible can be hidden by a mount above it:
	// the device must be the one that the path leads to.
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return medium{}, be.E(be.NoStore, "GRUB's partition %s: %w", dir, err)
	}
	dev := fmt.Sprintf("%d:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)))
	switch {
	case m.point == "" || m.dev != dev:
		return medium{}, be.E(be.NoStore, "no partition is mounted on %s", dir)
	case m.root != "/":
		return medium{}, be.E(be.NoStore, "%s shows only the directory %s of its partition", dir, m.root)
	case m.fstype != "vfat" && m.fstype != "ext2" && m.fstype != "ext3" && m.fstype != "ext4":
		return medium{}, be.E(be.Unbootable, "%s is %s: what GRUB is to read there has to be on vfat, ext2, ext3 or ext4; with UEFI the ESP will do", dir, m.fstype)
	case m.has("ro"):
		return medium{}, be.E(be.Unbootable, "%s is mounted read-only", dir)
	}
	sys, err := filepath.EvalSymlinks("/sys/dev/block/" + dev)
	if err != nil {
		return medium{}, be.E(be.Unbootable, "cannot see which disk %s is on: %w", dir, err)
	}
	name := filepath.Base(sys)
	found := medium{readOnly: plainPartition(dir, sys, l.cfg.AllowLoop)}
	if found.readOnly != nil {
		if found.modules, err = readableDevice(sys); err != nil {
			return medium{}, be.E(be.Unbootable, "%w; nor can it be relied on to read there: %w", found.readOnly, err)
		}
	}
	node, err := deviceNode(sys)
	if err != nil {
		return medium{}, be.E(be.Unbootable, "cannot read %s: %w", name, err)
	}
	super, err := readSuper(node)
	if err != nil {
		return medium{}, be.E(be.Unbootable, "cannot read the file system on %s: %w", node, err)
	}
	if m.fstype == "vfat" {
		found.uuid = fatID(super)
		return found, nil
	}
	ext, err := extMedium(dir, name, super)
	if err != nil {
		return medium{}, err
	}
	found.uuid = ext.uuid
	if m.has("data=journal") {
		found.readOnly = be.E(be.Unbootable, "%s is mounted with data=journal: replaying the journal could bring a consumed token back", dir)
	} else if ext.readOnly != nil {
		found.readOnly = ext.readOnly
	}
	return found, nil
}

// readableDevice accepts what GRUB can read though not write: a mirror of md,
// and a logical volume that is not thin. It returns the modules for that.
func readableDevice(sys string) ([]string, error) {
	name := filepath.Base(sys)
	if _, err := os.Stat(filepath.Join(sys, "md")); err == nil {
		return []string{"mdraid09", "mdraid1x"}, partition.Mirror(sys)
	}
	b, err := os.ReadFile(filepath.Join(sys, "dm", "uuid"))
	if err != nil || !strings.HasPrefix(string(b), "LVM-") {
		return nil, fmt.Errorf("%s is neither a mirror of md nor a logical volume", name)
	}
	slaves, err := filepath.Glob(filepath.Join(sys, "slaves", "*"))
	if err != nil {
		return nil, err
	}
	for _, slave := range slaves {
		// One on another device-mapper device is thin, encrypted, a snapshot or
		// LVM's own RAID.
		if strings.HasPrefix(filepath.Base(slave), "dm-") {
			return nil, fmt.Errorf("the logical volume %s is not linear", name)
		}
	}
	return []string{"lvm"}, nil
}

// plainPartition accepts a partition of a disk that has a driver of its own.
// Device mapper, md, loop, zram, nbd, bcache and RAM disks are below
// /sys/devices/virtual/block.
func plainPartition(dir, sys string, allowLoop bool) error {
	name := filepath.Base(sys)
	if strings.HasPrefix(sys, "/sys/devices/virtual/block/") {
		if allowLoop && strings.HasPrefix(name, "loop") {
			return nil
		}
		return be.E(be.Unbootable, "GRUB cannot write to %s, which is on %s: it can to a partition of a plain disk", dir, name)
	}
	if _, err := os.Stat(filepath.Join(sys, "partition")); err != nil {
		return be.E(be.Unbootable, "%s is on %s, which is no partition", dir, name)
	}
	return nil
}

func deviceNode(sys string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sys, "uevent"))
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if name, ok := strings.CutPrefix(line, "DEVNAME="); ok {
			return "/dev/" + name, nil
		}
	}
	return "", errors.New("sysfs does not name its device node")
}

// readSuper returns the first two KiB of a device.
func readSuper(node string) ([]byte, error) {
	f, err := os.Open(node)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 2048)
	_, err = io.ReadFull(f, b)
	return b, err
}

// fatID is the volume ID as GRUB prints it (grub-core/fs/fat.c): FAT32 has it
// elsewhere, and no 16-bit FAT size.
func fatID(super []byte) string {
	at := 0x27
	if binary.LittleEndian.Uint16(super[0x16:]) == 0 {
		at = 0x43
	}
	id := binary.LittleEndian.Uint32(super[at:])
	return fmt.Sprintf("%04x-%04x", id>>16, id&0xffff)
}

// Places in ext4's superblock, which begins at byte 1024 (Linux,
// Documentation/filesystems/ext4/super.rst).
const (
	extSuper        = 1024
	extMagic        = extSuper + 0x38
	extIncompat     = extSuper + 0x60
	extUUID         = extSuper + 0x68
	extDefaultMount = extSuper + 0x100

	extInlineData  = 0x8000
	extJournalMask = 0x60
	extJournalData = 0x20
)

func extMedium(dir, name string, super []byte) (m medium, err error) {
	if binary.LittleEndian.Uint16(super[extMagic:]) != 0xef53 {
		return medium{}, be.E(be.Unbootable, "%s has no ext2, ext3 or ext4 superblock", name)
	}
	if binary.LittleEndian.Uint32(super[extIncompat:])&extInlineData != 0 {
		return medium{}, be.E(be.Unbootable, "%s is ext4 with inline_data, which GRUB does not read: make it without, or use FAT", dir)
	}
	// mountinfo leaves out what is the superblock's own default.
	if binary.LittleEndian.Uint32(super[extDefaultMount:])&extJournalMask == extJournalData {
		m.readOnly = be.E(be.Unbootable, "%s has data=journal by default (tune2fs -o): replaying the journal could bring a consumed token back", dir)
	}
	u := super[extUUID : extUUID+16]
	m.uuid = fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
	return m, nil
}

// Inode flags of ext4 (linux/fs.h) with which writing raw blocks is wrong.
const (
	flagImmutable   = 0x10
	flagAppend      = 0x20
	flagCompressed  = 0x04
	flagEncrypted   = 0x800
	flagJournalData = 0x4000
	flagVerity      = 0x100000
	flagInline      = 0x10000000
)

// writable opens env for writing, changing nothing, and looks at its flags.
func writable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return be.E(be.Unbootable, "cannot write GRUB's environment: %w", err)
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil { // FAT has none
		return nil
	}
	if bad := flags & (flagImmutable | flagAppend | flagCompressed | flagEncrypted | flagJournalData | flagVerity | flagInline); bad != 0 {
		return be.E(be.Unbootable, "%s has attributes (chattr, %#x) with which GRUB cannot write it safely", path, bad)
	}
	return nil
}
