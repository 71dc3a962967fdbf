//go:build linux && vm

package activate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

const notInTime = "not confirmed in time: 40s passed"

// withUnits lets a whole Debian try, with these units in it.
func withUnits(units map[string]string) func(*testing.T, *vmtest.Disk, string) {
	return func(t *testing.T, _ *vmtest.Disk, top string) { whole(t, top, units) }
}

// withConf lets a whole Debian try, with a line more in its beadm.conf.
func withConf(line string, within string) func(*testing.T, *vmtest.Disk, string) {
	return func(t *testing.T, _ *vmtest.Disk, top string) {
		whole(t, top, nil)
		file := inNew(top, "etc/beadm/beadm.conf")
		data, err := os.ReadFile(file)
		must(t, err)
		put(t, file, string(data)+line+"\n", 0o644)
		if within != "" {
			// As if it had been activated with --confirm-within.
			file := one(t, filepath.Join(top, "@beadm/*/state.json"))
			data, err := os.ReadFile(file)
			must(t, err)
			if !strings.Contains(string(data), `"confirm_within_ns": 40000000000`) {
				t.Fatalf("no time of a trial in %s", data)
			}
			put(t, file, strings.ReplaceAll(string(data), `"confirm_within_ns": 40000000000`, `"confirm_within_ns": `+within), 0o600)
		}
	}
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
			spoil: withUnits(map[string]string{"loops.service": `[Service]
ExecStart=/bin/sh -c 'sleep 1; exit 1'
Restart=always
RestartSec=2
`}),
			begins: "beadm: trial of new", limit: 120 * time.Second, says: []string{"check failed: restarts: restarted again and again: loops.service"},
		},
		{
			name:   "a check that fails",
			spoil:  withConf("confirm.check = echo the answer is wrong; false", ""),
			begins: "beadm: trial of new", limit: 120 * time.Second, says: []string{"check failed: ", "the answer is wrong"},
		},
		{
			name:   "a check that hangs",
			spoil:  withConf("confirm.check = sleep 1000; true", "90000000000"),
			begins: "beadm: trial of new", limit: 150 * time.Second, says: []string{"check failed: sleep 1000; true: it did not end within 30s"},
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
			begins: "fault begins", limit: 90 * time.Second, says: []string{notInTime},
		},
		{
			name: "a disk that hangs",
			spoil: withUnits(map[string]string{"says.service": `[Service]
ExecStart=/bin/sh -c 'sleep 2; echo fault begins >/dev/console'
`}),
			begins: "fault begins", hold: true, limit: 150 * time.Second, says: []string{resetBefore},
		},
		{
			name: "a kernel that hangs, with a hardware watchdog",
			spoil: func(t *testing.T, d *vmtest.Disk, top string) {
				put(t, inNew(top, "root/fault.ko"), string(vmtest.Module(t, filepath.Join(top, newRoot), vmtest.Hang)), 0o644)
				whole(t, top, map[string]string{"hangs.service": `[Service]
ExecStart=/bin/sh -c 'sleep 5; cat /sys/class/watchdog/watchdog0/state /sys/class/watchdog/watchdog0/timeout >/dev/console; echo fault begins >/dev/console; insmod /root/fault.ko'
`})
			},
			machine: vmtest.Options{Watchdog: true},
			begins:  "active\\s+60\\s+fault begins", limit: 150 * time.Second, says: []string{resetBefore},
		},
	}
}
