//go:build linux && vm

package activate_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beadm/activate/boot/vmtest"
)

const (
	noUserland  = "did not reach userland: the loader started it and nothing more was heard"
	resetBefore = "reset before it was confirmed: a panic, a power cut or a reboot"
	bootFailed  = "boot failed"
)

// keep moves a file of new where the repair finds it, and puts another in its
// place, or none.
func keep(pattern, text string) func(*testing.T, *vmtest.Disk, string) {
	return func(t *testing.T, _ *vmtest.Disk, top string) {
		file := one(t, inNew(top, pattern))
		must(t, os.Rename(file, inNew(top, "root/kept")))
		if text != "" {
			put(t, file, text, 0o644)
		}
	}
}

// TestVMFaults: every fault of a trial ends in a reset, and the reset in the
// old boot environment, with no hand on the machine.
func TestVMFaults(t *testing.T) {
	base := armed(t)
	for _, f := range append(earlyFaults(), userlandFaults()...) {
		t.Run(f.name, func(t *testing.T) { f.run(t, base) })
	}
	powerCuts(t, base)
}

// earlyFaults are those of the loader, the kernel, the initramfs and boot.
func earlyFaults() []fault {
	return []fault{
		{
			name:  "panic",
			spoil: newInit("echo fault begins >/dev/console; echo c >/proc/sysrq-trigger"), begins: "fault begins", limit: 30 * time.Second,
			says: []string{resetBefore}, again: true,
		},
		{
			name:  "oops",
			spoil: loads(vmtest.Oops), begins: "fault begins", limit: 30 * time.Second,
			says: []string{resetBefore}, long: true,
		},
		{
			name:  "a processor that no longer schedules",
			spoil: loads(vmtest.Spin), begins: "fault begins", limit: 90 * time.Second,
			says: []string{resetBefore},
		},
		{
			name:  "process 1 ends",
			spoil: newInit("echo fault begins >/dev/console; exit 1"), begins: "fault begins", limit: 30 * time.Second,
			says: []string{resetBefore}, long: true,
		},
		{
			name:  "root that cannot be mounted",
			entry: [2]string{"subvol=" + newRoot + "'", "subvol=@nonesuch'"}, begins: "tiny: initramfs", limit: 60 * time.Second,
			says: []string{noUserland}, again: true,
		},
		{
			name:  "no beadm in it",
			spoil: keep("usr/lib/beadm/init", ""), begins: "tiny: root mounted", limit: 30 * time.Second,
			says: []string{noUserland}, refuses: "it holds no beadm", repair: "mv root/kept usr/lib/beadm/init",
		},
		{
			name:  "no kernel",
			spoil: keep("boot/vmlinuz-*", ""), limit: 30 * time.Second,
			says: []string{noUserland}, refuses: "no kernel that can boot", repair: "mv root/kept $(readlink -m boot/vmlinuz)",
		},
		{
			name:  "a kernel that is none",
			spoil: keep("boot/vmlinuz-*", "spoilt"), limit: 30 * time.Second,
			says: []string{noUserland}, refuses: "is damaged: it does not begin as a kernel", repair: "mv root/kept $(readlink -m boot/vmlinuz)", long: true,
		},
		{
			name:  "no initrd",
			spoil: keep("boot/initrd.img-*", ""), limit: 30 * time.Second,
			says: []string{noUserland}, refuses: "has no initrd", repair: "mv root/kept $(readlink -m boot/initrd.img)",
		},
		{
			name: "an initrd with wrong bytes",
			spoil: func(t *testing.T, _ *vmtest.Disk, top string) {
				file := one(t, inNew(top, "boot/initrd.img-*"))
				data, err := os.ReadFile(file)
				must(t, err)
				put(t, inNew(top, "root/kept"), string(data), 0o644)
				for i := range 4096 {
					data[len(data)/2+i] ^= 0x55
				}
				must(t, os.WriteFile(file, data, 0o644))
			},
			limit: 60 * time.Second,
			says:  []string{noUserland}, refuses: "initrd.img-", repair: "mv root/kept $(readlink -m boot/initrd.img)",
		},
		{
			name:   "boot finds the disk full",
			spoil:  func(t *testing.T, _ *vmtest.Disk, top string) { fill(t, top) },
			begins: "tiny: root mounted", limit: 60 * time.Second,
			says: []string{bootFailed, "no space left"}, prepare: "mount -o subvolid=5 /dev/vda3 /mnt && rm /mnt/fill && sync && umount /mnt", again: true,
		},
	}
}

// fill leaves no room for data.
func fill(t *testing.T, top string) {
	f, err := os.Create(filepath.Join(top, "fill"))
	must(t, err)
	defer f.Close()
	at := int64(0)
	for size := int64(1 << 30); size >= 4096; {
		err := unix.Fallocate(int(f.Fd()), 0, at, size)
		if errors.Is(err, unix.ENOSPC) {
			size /= 2
			continue
		}
		must(t, err)
		at += size
	}
}
