package boot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"beadm/be"
	"beadm/be/rooted"
)

// FindKernel returns what a Linux boot environment whose root is at rootDir
// boots with: absolute paths inside it without any link, and the kernel's
// release. It takes what /vmlinuz leads to, else what /boot/vmlinuz leads to,
// else the newest /boot/vmlinuz-RELEASE in dpkg's order; in each case only a
// kernel that has its initrd beside it (initrd.img-RELEASE, initrd-RELEASE,
// initramfs-RELEASE.img) and its modules in /lib/modules/RELEASE.
//
// Links are followed as in a chroot and never out of rootDir. If there is no
// such kernel the error is of kind be.Unbootable and has a reason for each
// that was looked at.
func FindKernel(ctx context.Context, rootDir string) (kernel, initrd, release string, err error) {
	root, err := rooted.Open(rootDir)
	if err != nil {
		return "", "", "", fmt.Errorf("cannot look for a kernel: %w", err)
	}
	defer root.Close()
	f := finder{root: root, seen: map[string]bool{}}
	for _, link := range []string{"/vmlinuz", "/boot/vmlinuz"} {
		if f.try(link) {
			return f.kernel, f.initrd, f.release, nil
		}
	}
	list, err := root.ReadDir("/boot")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", "", be.E(be.Unbootable, "cannot read /boot: %w", err)
	}
	var releases []string
	for _, info := range list {
		if rel, ok := strings.CutPrefix(info.Name, "vmlinuz-"); ok && !leftover(rel) {
			releases = append(releases, rel)
		}
	}
	slices.SortFunc(releases, func(a, b string) int { return compareVersions(b, a) })
	for _, rel := range releases {
		if err := ctx.Err(); err != nil {
			return "", "", "", err
		}
		if f.try("/boot/vmlinuz-" + rel) {
			return f.kernel, f.initrd, f.release, nil
		}
	}
	if len(f.reasons) == 0 {
		return "", "", "", be.E(be.Unbootable, "no kernel: there is neither /vmlinuz nor /boot/vmlinuz nor any /boot/vmlinuz-RELEASE in it")
	}
	return "", "", "", be.E(be.Unbootable, "no kernel that can boot: %s", strings.Join(f.reasons, "; "))
}

// leftover says whether a name is what a package manager left in the middle.
func leftover(name string) bool {
	for _, suffix := range []string{".dpkg-new", ".dpkg-tmp", ".dpkg-old", ".dpkg-dist", ".rpmnew", ".rpmsave", ".bak", ".old", "~"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return strings.Contains(name, ";") // rpm
}

type finder struct {
	root    *rooted.Root
	seen    map[string]bool
	reasons []string

	kernel, initrd, release string
}

func (f *finder) because(format string, args ...any) bool {
	f.reasons = append(f.reasons, fmt.Sprintf(format, args...))
	return false
}

// try looks at the kernel that name leads to. A name that is not there is no
// reason.
func (f *finder) try(name string) bool {
	if _, err := f.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	kernel, err := f.root.Resolve(name)
	if err != nil {
		return f.because("%s cannot be followed: %v", name, err)
	}
	if f.seen[kernel] {
		return false
	}
	f.seen[kernel] = true
	what := name
	if kernel != name {
		what = name + ", which is " + kernel
	}
	file, err := f.root.OpenNoFollow(kernel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.because("%s, is missing", what)
	case err != nil:
		return f.because("kernel %s cannot be read: %v", what, err)
	}
	suffix, named := strings.CutPrefix(path.Base(kernel), "vmlinuz-")
	release := suffix
	if !named {
		suffix = "" // of no initrd
	}
	inside, empty, err := readRelease(file)
	file.Close()
	switch {
	case err != nil:
		return f.because("kernel %s cannot be read: %v", what, err)
	case empty:
		return f.because("kernel %s is empty", what)
	case inside != "":
		release = inside // what uname -r will say, and modprobe look for
	case !named:
		return f.because("kernel %s does not say which release it is", what)
	}
	if release == "" || release == "." || release == ".." || strings.Contains(release, "/") {
		return f.because("kernel %s has no release in its name", what)
	}
	initrd, reason := f.findInitrd(path.Dir(kernel), release, suffix)
	if initrd == "" {
		return f.because("kernel %s %s", what, reason)
	}
	modules, err := f.root.ReadDir("/lib/modules/" + release)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.because("kernel %s has no modules: /lib/modules/%s is missing", what, release)
	case err != nil:
		return f.because("the modules of kernel %s cannot be read: %v", what, err)
	case len(modules) == 0:
		return f.because("kernel %s has no modules: /lib/modules/%s is empty", what, release)
	}
	f.kernel, f.initrd, f.release = kernel, initrd, release
	return true
}

// findInitrd returns the initrd of a kernel, or why there is none: first the one
// that is called as the kernel's file is, as GRUB's own generator takes it. By
// the release inside it may be another kernel's: a local build of 6.1 is called
// 6.1-local and says it is 6.1.
func (f *finder) findInitrd(dir, release, suffix string) (found, reason string) {
	var names []string
	for _, rel := range []string{suffix, release} {
		if rel == "" {
			continue
		}
		for _, d := range []string{dir, "/boot"} {
			for _, n := range []string{"initrd.img-" + rel, "initrd-" + rel, "initramfs-" + rel + ".img"} {
				if full := path.Join(d, n); !slices.Contains(names, full) {
					names = append(names, full)
				}
			}
		}
	}
	for _, name := range names {
		resolved, err := f.root.Resolve(name)
		if err == nil {
			info, statErr := f.root.Lstat(resolved)
			switch {
			case errors.Is(statErr, fs.ErrNotExist):
				continue
			case statErr == nil && !info.IsRegular():
				return "", fmt.Sprintf("has an initrd, %s, that is no file", name)
			case statErr == nil && info.Size == 0:
				return "", fmt.Sprintf("has an initrd, %s, that is empty", name)
			}
			err = statErr
		}
		if err != nil {
			return "", fmt.Sprintf("has an initrd that cannot be read: %v", err)
		}
		return resolved, ""
	}
	return "", fmt.Sprintf("has no initrd: there is no %s", names[0])
}

// readRelease reads the release out of an x86 kernel (Linux,
// Documentation/arch/x86/boot.rst: HdrS at 0x202, kernel_version at 0x20e). It
// is empty for other kernels.
func readRelease(r io.Reader) (release string, empty bool, err error) {
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(r, head)
	if err == io.EOF {
		return "", true, nil
	}
	if err != nil && err != io.ErrUnexpectedEOF {
		return "", false, err
	}
	head = head[:n]
	if n < 0x210 || !bytes.Equal(head[0x202:0x206], []byte("HdrS")) {
		return "", false, nil
	}
	at := int(binary.LittleEndian.Uint16(head[0x20e:])) + 0x200
	if at == 0x200 || at >= n {
		return "", false, nil
	}
	text, _, _ := bytes.Cut(head[at:], []byte{0})
	release, _, _ = strings.Cut(string(text), " ")
	return release, false, nil
}
