package partition

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const onMirror = "md"

// Below says what has to be started before the file system at dir is there, in
// words for Start: nothing for a partition, a mirror of md, or a logical volume.
func Below(dir string) string {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return ""
	}
	sys := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	if _, err := os.Stat(filepath.Join(sys, "md")); err == nil {
		return onMirror
	}
	uuid, _ := os.ReadFile(filepath.Join(sys, "dm", "uuid"))
	name, err := os.ReadFile(filepath.Join(sys, "dm", "name"))
	if err != nil || !strings.HasPrefix(string(uuid), "LVM-") {
		return ""
	}
	if volume := volumeOf(strings.TrimSpace(string(name))); volume != "" {
		return "lvm " + volume
	}
	return ""
}

// volumeOf is VG/LV of a device-mapper name: a dash between the two, and each
// dash in them doubled (lvm(8), libdm's dm_build_dm_name).
func volumeOf(name string) string {
	vg, lv, ok := strings.Cut(strings.ReplaceAll(name, "--", "\x00"), "-")
	if !ok || vg == "" || lv == "" || strings.Contains(lv, "-") {
		return ""
	}
	return strings.ReplaceAll(vg+"/"+lv, "\x00", "-")
}

// Start starts what Below said, in a boot whose initramfs did not: it starts
// what the root needs.
func Start(ctx context.Context, below string) error {
	argv := []string{"mdadm", "--quiet", "--assemble", "--scan", "--no-degraded"}
	if volume, ok := strings.CutPrefix(below, "lvm "); ok {
		argv = []string{"lvm", "lvchange", "-ay", "--sysinit", "--noudevsync", volume}
	} else if below != onMirror {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
