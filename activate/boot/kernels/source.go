package kernels

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/rooted"
)

// sumLength is how much of a sha256 is in a name: 128 bits, so that the
// initrd= that systemd-boot puts on the command line stays short.
const sumLength = 32

// Source is the kernel and the initrd of a boot environment, open.
type Source struct{ files [2]file }

type file struct {
	f    *os.File
	name string // in Dir
	sum  string
	size int64
}

// Open reads the kernel and the initrd of e below e.Dir once, for their sums.
// With efi it refuses a kernel that UEFI could not start. Errors are of kind
// be.Unbootable. The caller closes the Source.
func Open(ctx context.Context, e boot.Entry, efi bool) (*Source, error) {
	root, err := rooted.Open(e.Dir)
	if err != nil {
		return nil, be.E(be.Unbootable, "cannot read the kernel of %s: %w", e.ID, err)
	}
	defer root.Close()
	s := &Source{}
	for i, want := range [2]struct {
		what, path string
		efi        bool
	}{{"linux", e.Kernel, efi}, {"initrd", e.Initrd, false}} {
		if err := ctx.Err(); err != nil {
			s.Close()
			return nil, err
		}
		if s.files[i], err = open(root, want.what, want.path, want.efi); err != nil {
			s.Close()
			return nil, be.E(be.Unbootable, "cannot read the %s of %s: %w", want.what, e.ID, err)
		}
	}
	return s, nil
}

// Names are what the kernel and the initrd are called in a Dir.
func (s *Source) Names() []string { return []string{s.Kernel(), s.Initrd()} }

// Kernel is the first of Names.
func (s *Source) Kernel() string { return s.files[0].name }

// Initrd is the second.
func (s *Source) Initrd() string { return s.files[1].name }

// Close may be called of one that is half open.
func (s *Source) Close() {
	for _, one := range s.files {
		if one.f != nil {
			one.f.Close()
		}
	}
}

func open(root *rooted.Root, what, path string, efi bool) (file, error) {
	if !strings.HasPrefix(path, "/") {
		return file{}, fmt.Errorf("%q is no absolute path", path)
	}
	f, err := root.OpenNoFollow(path)
	if err != nil {
		return file{}, err
	}
	h := sha256.New()
	head := make([]byte, 2)
	n, err := io.ReadFull(f, head)
	h.Write(head[:n])
	var size int64
	if err == nil {
		size, err = io.Copy(h, f)
	}
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		err = fmt.Errorf("%s is empty", path)
	case err == nil && efi && string(head) != "MZ":
		// Linux, Documentation/admin-guide/efi-stub.rst: it is a PE/COFF image.
		err = fmt.Errorf("%s is no kernel that UEFI can start", path)
	}
	if err != nil {
		f.Close()
		return file{}, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	return file{f: f, name: what + "-" + sum[:sumLength], sum: sum, size: size + int64(n)}, nil
}
