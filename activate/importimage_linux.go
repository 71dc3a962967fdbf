package activate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"beadm/be"
	"beadm/be/rooted"
)

// extent is where a file system may be in an image.
type extent struct {
	number     int // of the partition; 0: the image is none
	from, size int64
}

// openImage mounts the root in an image read-only: its only file system, or that
// of its partitions which holds a system.
func (s *Session) openImage(ctx context.Context, src *source, path string, file *os.File) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	list, err := partitionsIn(file)
	if err != nil {
		return err
	}
	dir := s.path("image")
	if err := s.private(dir); err != nil {
		return err
	}
	unmount := func() {
		if err := s.Store.UnmountDir(context.WithoutCancel(ctx), dir); err != nil {
			s.Report.Warn("%v", err)
			return
		}
		os.Remove(dir)
	}
	var roots []extent
	var last error
	for _, e := range list {
		if err := mountImage(ctx, path, e, dir); err != nil {
			last = err
			continue
		}
		if isSystem(dir) || e.number == 0 {
			roots = append(roots, e)
		}
		unmount()
	}
	switch {
	case len(roots) == 0 && len(list) == 1 && last != nil:
		return be.E(be.Usage, "it is no export, no archive and no image of a file system: %w", last)
	case len(roots) == 0 && last != nil:
		return be.E(be.Usage, "none of the %d partitions of the image %s holds a system that can be mounted; of the last that could not: %w", len(list), path, last)
	case len(roots) == 0:
		return be.E(be.Usage, "none of the %d partitions of the image %s holds a system that can be mounted", len(list), path)
	case len(roots) > 1:
		var numbers []string
		for _, e := range roots {
			numbers = append(numbers, fmt.Sprint(e.number))
		}
		return be.E(be.Usage, "the partitions %s of the image %s each hold a system: mount the one that is meant, and give its directory with -f", strings.Join(numbers, ", "), path)
	}
	if err := s.private(dir); err != nil {
		return err
	}
	if err := mountImage(ctx, path, roots[0], dir); err != nil {
		return err
	}
	src.undo = append(src.undo, unmount)
	if src.tree, err = os.Open(dir); err != nil {
		return err
	}
	src.undo = append(src.undo, func() { src.tree.Close() })
	return nil
}

// mountImage mounts it by a loop device that goes with the mount.
func mountImage(ctx context.Context, path string, e extent, dir string) error {
	options := "ro,loop,nosuid,nodev,noexec"
	if e.number > 0 {
		options += fmt.Sprintf(",offset=%d,sizelimit=%d", e.from, e.size)
	}
	cmd := exec.CommandContext(ctx, "mount", "-o", options, "--", path, dir)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		if words := strings.Join(strings.Fields(string(out)), " "); words != "" {
			err = errors.New(rooted.Printable(words))
		}
		return fmt.Errorf("cannot mount it: %w", err)
	}
	return nil
}

// isSystem says whether a directory is the root of a system.
func isSystem(dir string) bool {
	r, err := rooted.Open(dir)
	if err != nil {
		return false
	}
	defer r.Close()
	etc, err := r.Stat("/etc")
	if err != nil || !etc.IsDir() {
		return false
	}
	for _, init := range []string{"/sbin/init", "/usr/lib/systemd/systemd", "/bin/init", "/bin/sh", "/usr/bin/sh"} {
		// A link that leads to /run, say, is one all the same.
		if _, err := r.Lstat(init); err == nil {
			return true
		}
	}
	return false
}

// partitionsIn are those of the table at the beginning of an image, GPT (UEFI
// 2.10, 5.3) or MBR; the image as a whole if there is none.
func partitionsIn(r io.ReaderAt) ([]extent, error) {
	whole := []extent{{}}
	head := make([]byte, 512)
	if _, err := r.ReadAt(head, 0); err != nil {
		return whole, nil
	}
	for _, sector := range []int64{512, 4096} {
		table := make([]byte, 92)
		if _, err := r.ReadAt(table, sector); err == nil && string(table[:8]) == "EFI PART" {
			return gptIn(r, table, sector)
		}
	}
	le := binary.LittleEndian
	if head[510] != 0x55 || head[511] != 0xaa {
		return whole, nil
	}
	var list []extent
	for i := range 4 {
		e := head[446+16*i:][:16]
		from, size := int64(le.Uint32(e[8:]))*512, int64(le.Uint32(e[12:]))*512
		if e[0]&0x7f != 0 { // a boot sector's code, and no table
			return whole, nil
		}
		if e[4] != 0 && size > 0 {
			list = append(list, extent{i + 1, from, size})
		}
	}
	if len(list) == 0 {
		return whole, nil
	}
	return list, nil
}

func gptIn(r io.ReaderAt, table []byte, sector int64) ([]extent, error) {
	le := binary.LittleEndian
	at, n, size := int64(le.Uint64(table[72:]))*sector, int(le.Uint32(table[80:])), int(le.Uint32(table[84:]))
	if n > 1024 || size < 128 || size > 4096 {
		return nil, be.E(be.Usage, "the partition table of the image is damaged")
	}
	var list []extent
	for i := range n {
		e := make([]byte, size)
		if _, err := r.ReadAt(e, at+int64(i*size)); err != nil {
			return nil, be.E(be.Usage, "the partition table of the image is damaged: %w", err)
		}
		first, last := int64(le.Uint64(e[32:])), int64(le.Uint64(e[40:]))
		if strings.Trim(string(e[:16]), "\x00") != "" && last >= first {
			list = append(list, extent{i + 1, first * sector, (last - first + 1) * sector})
		}
	}
	if len(list) == 0 {
		return nil, be.E(be.Usage, "there is no partition in the image")
	}
	return list, nil
}
