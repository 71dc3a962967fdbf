//go:build linux && vm

package activate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

const notInTime = "not confirmed in time: 40s passed"

// withUnits lets a whole Debian try, with these units in it.
func withUnits(units map[string]string) func(*testing.T, *vmtest.Disk, string) {
	return func(t *testing.T, _ *vmtest.Disk, top string) { whole(t, top, units) }
}

// withCheck lets a whole Debian try, with a check of its own. Its time is the
// longer: it is a check that ends the trial, or is named when time is up.
func withCheck(check string) func(*testing.T, *vmtest.Disk, string) {
	return func(t *testing.T, _ *vmtest.Disk, top string) {
		whole(t, top, nil)
		file := inNew(top, "etc/beadm/beadm.conf")
		data, err := os.ReadFile(file)
		must(t, err)
		put(t, file, string(data)+"confirm.check = "+check+"\n", 0o644)
		confirmWithin(t, top, 90*time.Second)
	}
}

// confirmWithin has the trial armed as with --confirm-within.
func confirmWithin(t *testing.T, top string, d time.Duration) {
	t.Helper()
	file := one(t, filepath.Join(top, "@beadm/*/state.json"))
	data, err := os.ReadFile(file)
	must(t, err)
	key := regexp.MustCompile(`("confirm_within_ns": *)\d+`)
	if !key.Match(data) {
		t.Fatalf("no time of a trial in %s", data)
	}
	put(t, file, key.ReplaceAllString(string(data), fmt.Sprintf("${1}%d", d)), 0o600)
}

// userlandFaults are those that systemd sees, or does not.
func userlandFaults() []fault {
	return []fault{
		{
			name: "userland that hangs",
			spoil: withUnits(map[string]string{"hangs.service": `[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo fault begins >/dev/console; sleep infinity'
TimeoutStartSec=infinity
`}),
			begins: "fault begins", limit: 90 * time.Second, says: []string{notInTime},
		},
		{
			name: "emergency mode",
			spoil: func(t *testing.T, _ *vmtest.Disk, top string) {
				whole(t, top, nil)
				file := inNew(top, "etc/fstab")
				data, err := os.ReadFile(file)
				must(t, err)
				put(t, file, string(data)+"UUID=0123-4567 /nonesuch vfat x-systemd.device-timeout=2s 0 2\n", 0o644)
			},
			begins: "beadm: trial of new", limit: 90 * time.Second, says: []string{"emergency mode"},
		},
		{
			name: "a service that restarts for ever",
			spoil: func(t *testing.T, _ *vmtest.Disk, top string) {
				whole(t, top, map[string]string{"loops.service": `[Service]
ExecStart=/bin/sh -c 'sleep 1; exit 1'
Restart=always
RestartSec=2
`})
				confirmWithin(t, top, 90*time.Second)
			},
			begins: "beadm: trial of new", limit: 150 * time.Second, says: []string{"restarts: restarted again and again: loops.service"},
		},
		{
			name:   "a check that fails",
			spoil:  withCheck("echo the answer is wrong; false"),
			begins: "beadm: trial of new", limit: 150 * time.Second, says: []string{"the answer is wrong"},
		},
		{
			name:   "a check that hangs",
			spoil:  withCheck("sleep 1000; true"),
			begins: "beadm: trial of new", limit: 150 * time.Second, says: []string{"sleep 1000; true: it did not end within 30s"}, long: true,
		},
		{
			name: "a unit before boot-complete.target that fails",
			spoil: func(t *testing.T, _ *vmtest.Disk, top string) {
				whole(t, top, map[string]string{"health.service": `[Unit]
Before=boot-complete.target
[Service]
Type=oneshot
ExecStart=/bin/false
`})
				dir := inNew(top, "etc/systemd/system/boot-complete.target.requires")
				must(t, os.MkdirAll(dir, 0o755))
				must(t, os.Symlink("../health.service", filepath.Join(dir, "health.service")))
				must(t, os.RemoveAll(inNew(top, "etc/systemd/system/multi-user.target.wants/health.service")))
				confirmWithin(t, top, 90*time.Second)
			},
			begins: "beadm: trial of new", limit: 150 * time.Second, says: []string{"health.service"},
		},
		{
			name: "a shutdown that hangs",
			spoil: withUnits(map[string]string{
				"stays.service": `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sleep infinity
TimeoutStopSec=infinity
`,
				"reboots.service": `[Unit]
After=stays.service
[Service]
ExecStart=/bin/sh -c 'sleep 2; echo fault begins >/dev/console; systemctl --no-block reboot'
`}),
			begins: "fault begins", limit: 90 * time.Second, says: []string{notInTime}, long: true,
		},
		{
			name: "a disk that hangs",
			spoil: withUnits(map[string]string{"says.service": `[Service]
ExecStart=/bin/sh -c 'sleep 2; echo fault begins >/dev/console'
`}),
			begins: "fault begins", hold: true, limit: 150 * time.Second, says: []string{resetBefore}, long: true,
		},
		{
			name: "a kernel that hangs beside a hardware watchdog",
			spoil: func(t *testing.T, d *vmtest.Disk, top string) {
				put(t, inNew(top, "root/fault.ko"), string(vmtest.Module(t, filepath.Join(top, newRoot), vmtest.Hang)), 0o644)
				whole(t, top, map[string]string{"hangs.service": `[Service]
ExecStart=/bin/sh -c 'sleep 5; cat /sys/class/watchdog/watchdog0/state /sys/class/watchdog/watchdog0/timeout >/dev/console; echo fault begins >/dev/console; insmod /root/fault.ko'
`})
			},
			machine: vmtest.Options{Watchdog: true},
			begins:  "active\\s+60\\s+fault begins", limit: 150 * time.Second, says: []string{resetBefore}, long: true,
		},
	}
}
