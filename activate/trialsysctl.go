package activate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// trialSysctl has what the trial's kernel arguments began stay so: what a boot
// environment's own sysctl.d sets later in the boot would take it away. Files
// are sorted by their names across all directories, and the last one wins
// (sysctl.d(5)); in /run it ends with the boot.
const trialSysctl = "/run/sysctl.d/zzz-beadm.conf"

// trialSettings are the settings of trialSysctl. Those without a value keep the
// one that they have before any service; the NMI watchdog is off in many
// virtual machines because it would be wrong there.
func trialSettings(panicSeconds int) [][2]string {
	return [][2]string{
		{"kernel.panic", fmt.Sprint(panicSeconds)},
		{"kernel.panic_on_oops", "1"},
		{"kernel.softlockup_panic", "1"},
		{"kernel.hardlockup_panic", "1"},
		{"kernel.watchdog_thresh", ""},
		{"kernel.nmi_watchdog", ""},
		{"kernel.soft_watchdog", "1"},
	}
}

// putTrialSysctl writes file; sys is where the settings are now (/proc/sys).
func putTrialSysctl(file, sys string, panicSeconds int) error {
	text := "# beadm: a trial runs. Whatever goes wrong in it must end in a reset.\n"
	for _, set := range trialSettings(panicSeconds) {
		name, value := set[0], set[1]
		if value == "" {
			b, err := os.ReadFile(filepath.Join(sys, strings.ReplaceAll(name, ".", "/")))
			if value = strings.TrimSpace(string(b)); err != nil || value == "" {
				continue // this kernel has no such watchdog
			}
		}
		text += "-" + name + " = " + value + "\n" // -: one that the kernel has not is no failure
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// dropTrialSysctl removes file, if it is there, and has apply set anew what the
// boot environment itself says of the settings with these names. What it says
// nothing of stays as in the trial until the next boot.
func dropTrialSysctl(file string, apply func(names []string) error) error {
	if err := os.Remove(file); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var names []string
	for _, set := range trialSettings(0) {
		names = append(names, set[0])
	}
	return apply(names)
}
