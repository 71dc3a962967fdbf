package activate

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"beadm/be"
	"beadm/be/rooted"
)

// onDisk are file systems that hold what a reboot keeps.
var onDisk = []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "ufs"}

// packages are where package managers keep what is installed: the one database
// has to go with the files it tells of.
var packages = []string{"var/lib/dpkg", "var/lib/rpm", "usr/lib/sysimage/rpm", "var/lib/pacman", "lib/apk/db", "var/db/pkg"}

// checkMounts is about file systems that are mounted in the running root and are
// no part of its boot environment.
func (s *Session) checkMounts(ctx context.Context, mounted []*mountinfo.Info) (list []be.Finding) {
	apart := map[string]bool{} // by path in the root
	inside := func(p string) bool {
		m := mountOf(mounted, filepath.Join(s.Root, p))
		if m == nil || m.Mountpoint == s.Root {
			return true
		}
		_, part, err := s.volumeAt(ctx, "/"+strings.TrimPrefix(strings.TrimPrefix(m.Mountpoint, s.Root), "/"))
		return err != nil || part
	}
	for _, dir := range packages {
		at := filepath.Join(s.Root, dir)
		if real, err := filepath.EvalSymlinks(at); err != nil || real != at || inside(dir) {
			continue
		}
		apart[dir] = true
		list = append(list, be.Finding{ID: "packages", Severity: be.FindingError,
			Text:   fmt.Sprintf("the package database /%s is on a file system that all boot environments share: in one it would tell of what is installed in another", dir),
			Remedy: "move it into the root file system"})
	}
	if s.State.Loader.Kind != "stub" && !inside("boot") {
		remedy := "move /boot into the root file system"
		switch m := mountOf(mounted, filepath.Join(s.Root, "boot")); {
		case m == nil:
		case slices.Contains(loaderFS, m.FSType):
			remedy = "beadm setup --move-boot gives each boot environment its own and has GRUB use that file system (-n says how)"
		case m.FSType == "zfs":
			remedy += ", or, where it is POOL/BOOT/NAME of another ZFS pool, run beadm setup again"
		}
		list = append(list, be.Finding{ID: "boot", Severity: be.FindingWarning,
			Text:   "/boot is a file system of its own: a kernel that is installed there is every boot environment's",
			Remedy: remedy + "; until then, do not upgrade the kernel in a boot environment that does not run"})
	}
	for _, m := range mounted {
		rel, below := strings.CutPrefix(m.Mountpoint, strings.TrimSuffix(s.Root, "/")+"/")
		if !below || rel == "" || !slices.Contains(onDisk, m.FSType) || rel == "boot" || strings.HasPrefix(rel, "boot/") {
			continue
		}
		if s.ours(rel) || apart[rel] || apart[path.Dir(rel)] || inside(rel) {
			continue
		}
		apart[rel] = true
		list = append(list, be.Finding{ID: "outside", Severity: be.FindingNote, Text: "/" + rooted.Printable(rel) + " is a file system of its own: it is in no boot environment, and no switch changes it"})
	}
	return list
}

// ours reports whether a path of the root is beadm's, or in memory after a boot.
func (s *Session) ours(rel string) bool {
	for _, dir := range []string{sharePoint, "run", "proc", "sys", "dev"} {
		if rel == dir || strings.HasPrefix(rel, dir+"/") {
			return true
		}
	}
	return strings.HasPrefix(filepath.Join(s.Root, rel)+"/", s.Runtime+"/")
}
