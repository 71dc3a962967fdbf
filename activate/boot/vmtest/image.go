//go:build linux

// Package vmtest runs tests on real machines: Debian on ZFS or btrfs, started
// by real GRUB from BIOS or UEFI, in QEMU by software emulation. The image is
// built once from Debian's packages (testdata/vm) and cached outside the tree;
// every test has a disk of its own. Every wait has a limit and ends with the
// console's last lines.
package vmtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"syscall"
	"time"
)

// recipe is the folder of the scripts that make the image.
func recipe() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../../../testdata/vm")
}

// CacheDir is where images are kept: BEADM_VM_CACHE, or /var/cache/beadm-vm.
func CacheDir() string {
	if dir := os.Getenv("BEADM_VM_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/beadm-vm"
}

// Image is a folder with a built image: the disks zfs.img and btrfs.img, and
// vmlinuz and initrd for boots without a loader.
type Image struct{ Dir string }

// Build finds the image of the present recipe or builds it, which takes some
// ten minutes; say hears of each stage. Two builders wait for each other. An
// image that is there is complete: it gets its name last.
func Build(ctx context.Context, say func(format string, args ...any)) (*Image, error) {
	key, scripts, err := recipeKey()
	if err != nil {
		return nil, fmt.Errorf("cannot read the image's recipe: %w", err)
	}
	if err := os.MkdirAll(CacheDir(), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the image cache: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(CacheDir(), "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the image cache: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("cannot lock the image cache: %w", err)
	}
	done := filepath.Join(CacheDir(), key)
	if _, err := os.Stat(done); err == nil {
		return &Image{Dir: done}, nil
	}
	partial := done + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return nil, fmt.Errorf("cannot clear %s: %w", partial, err)
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return nil, err
	}
	for _, script := range scripts {
		start := time.Now()
		log, err := os.Create(filepath.Join(partial, script+".log"))
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, "sh", filepath.Join(recipe(), script), partial)
		cmd.Stdout, cmd.Stderr = log, log
		err = cmd.Run()
		log.Close()
		if err != nil {
			return nil, fmt.Errorf("cannot build the image: %s: %w:\n%s", script, err, lastLines(readAll(log.Name()), 40))
		}
		say("image: %s took %.0f s", script, time.Since(start).Seconds())
	}
	os.Remove(filepath.Join(partial, "root.tar"))
	os.Remove(filepath.Join(partial, "modules.tar"))
	if err := os.Rename(partial, done); err != nil {
		return nil, err
	}
	return &Image{Dir: done}, nil
}

// recipeKey names the image by all that goes into it.
func recipeKey() (key string, scripts []string, err error) {
	files, err := filepath.Glob(filepath.Join(recipe(), "*.sh"))
	if err != nil {
		return "", nil, err
	}
	sort.Strings(files)
	sum := sha256.New()
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return "", nil, err
		}
		fmt.Fprintf(sum, "%s %d\n", filepath.Base(f), len(data))
		sum.Write(data)
	}
	return "debian-" + hex.EncodeToString(sum.Sum(nil))[:16], []string{"modules.sh", "root.sh", "zfs.sh", "btrfs.sh"}, nil
}

func readAll(file string) string {
	data, _ := os.ReadFile(file)
	return string(data)
}
