// Package share keeps what lives once on a machine, whatever boot environment
// runs: mail, spools, logs, temporary files. It moves their directories into
// the shared dataset, mounted at /var/share, and leaves relative links behind
// (/var/mail -> share/mail); keeps packages that are installed into a boot
// environment at rest away from the live data; and brings what they left into
// the shared dataset when that boot environment runs.
//
// Every function takes the directory that stands for "/". Inside it, paths are
// resolved as in a chroot and never leave it.
package share

import (
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Paths inside a root.
const (
	MountPoint = "/var/share"         // of the shared dataset
	OldDir     = "/var/.beadm-old"    // trees that were moved, until Commit
	OldRootDir = "/.beadm-old"        // those from outside /var
	StagedDir  = "/var/.beadm-staged" // what stands in for MountPoint while a BE does not run
)

// Names at the top of the shared dataset. They begin with a dot: no directory
// of a profile does.
const (
	newDir     = ".beadm-new"     // copies that are not complete
	UndoneDir  = ".beadm-undone"  // what Undo has copied back, until Commit
	ArrivedDir = ".beadm-arrived" // what Arrive could not merge
)

// dir is one directory of a profile.
type dir struct {
	path string
	mode uint32 // for the skeleton, where nobody knows better
	gid  int
}

func (d dir) name() string { return path.Base(d.path) }

// profile lists what is moved on an operating system; empty means the one we
// run on.
func profile(os string) []dir {
	if os == "" {
		os = runtime.GOOS
	}
	dirs := []dir{
		{"/var/adm", 0o755, 0},
		{"/var/mail", 0o2775, 8},
		{"/var/spool", 0o755, 0},
		{"/var/tmp", 0o1777, 0},
	}
	switch os {
	case "linux":
		dirs = append(dirs, dir{"/var/crash", 0o755, 0}, dir{"/var/log", 0o755, 0})
	case "freebsd":
		dirs = append(dirs, dir{"/var/crash", 0o750, 0}, dir{"/var/cron", 0o750, 0}, dir{"/var/log", 0o755, 0})
	case "illumos", "solaris":
		dirs = append(dirs, dir{"/var/cores", 0o700, 0}, dir{"/var/crash", 0o700, 0}, dir{"/var/dhcp", 0o755, 0})
	}
	return dirs
}

// Profile is the list of paths that are shared on an operating system
// ("linux", "freebsd", "illumos"; empty: the one we run on), as changes make
// it: each adds a path, or takes out the one behind a "!". A later one wins.
func Profile(os string, changes ...string) []string {
	var paths []string
	for _, d := range profile(os) {
		paths = append(paths, d.path)
	}
	for _, change := range changes {
		p, out := strings.CutPrefix(change, "!")
		paths = slices.DeleteFunc(paths, func(one string) bool { return one == p })
		if !out {
			paths = append(paths, p)
		}
	}
	return paths
}

// databases are the package managers'. They describe one boot environment.
var databases = []string{
	"/usr/lib/sysimage/rpm", "/usr/local/lib/beadm", "/var/db/pkg", "/var/db/fex", "/var/lib/apk", "/var/lib/apt",
	"/var/lib/dnf", "/var/lib/dpkg", "/var/lib/pacman", "/var/lib/portage", "/var/lib/rpm", "/var/lib/zypp",
	"/var/pkg", "/var/sadm",
}

// susePaths tell openSUSE's /var/adm, which its packages own, from others.
var susePaths = []string{
	"/var/adm/update-messages", "/var/adm/update-scripts", "/var/adm/fillup-templates",
	"/var/adm/backup/rpmdb", "/var/adm/perl-modules", "/var/adm/netconfig",
}

// inside says whether p is dir or lies below it.
func inside(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimRight(dir, "/")+"/")
}

// SnapshotName names the snapshot of the shared dataset that is made at the
// switch of an activation. Those of one activation sort by time.
func SnapshotName(activation string, at time.Time) string {
	return "beadm-" + activation + "-" + at.UTC().Format("20060102T150405Z")
}

// ParseSnapshotName reads such a name back.
func ParseSnapshotName(name string) (activation string, at time.Time, ok bool) {
	rest, ok := strings.CutPrefix(name, "beadm-")
	i := strings.LastIndexByte(rest, '-')
	if !ok || i < 0 {
		return "", time.Time{}, false
	}
	at, err := time.Parse("20060102T150405Z", rest[i+1:])
	return rest[:i], at, err == nil
}
