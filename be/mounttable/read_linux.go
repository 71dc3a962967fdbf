package mounttable

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Table is the mount table, in the order of mounting.
type Table []*mountinfo.Info

// Read reads it as it is now.
func Read() (Table, error) {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	return list, nil
}

// ErrUnseen is the error of Of where the mount is not in the table, as that of what
// is above a chroot.
var ErrUnseen = errors.New("its mount is not in the mount table")

// Of is the mount that an open file was reached by. Where mounts lie one upon
// another only this tells which.
func (t Table) Of(fd int) (*mountinfo.Info, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, is := strings.CutPrefix(lines.Text(), "mnt_id:")
		if !is {
			continue
		}
		id, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		for _, m := range t {
			if m.ID == id {
				return m, nil
			}
		}
		return nil, ErrUnseen
	}
	return nil, fmt.Errorf("%s names no mount", f.Name())
}

// Where are the mounts of which is says yes.
func (t Table) Where(is func(*mountinfo.Info) bool) (list Table) {
	for _, m := range t {
		if is(m) {
			list = append(list, m)
		}
	}
	return list
}

// Below are the mounts at and below a directory, which is named without links.
func (t Table) Below(dir string) Table {
	return t.Where(func(m *mountinfo.Info) bool { return Inside(m.Mountpoint, dir) })
}

// Inside says that a clean path is dir or below it.
func Inside(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// Device is the number of the file system's device, as stat(2) has it.
func Device(m *mountinfo.Info) uint64 { return unix.Mkdev(uint32(m.Major), uint32(m.Minor)) }
