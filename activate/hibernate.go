package activate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"beadm/be"
)

// noHibernation is what systemd-sleep and logind ask, each time, whether they
// may (systemd-sleep.conf(5)). The name sorts behind those of others, so that
// it has the last word; in /run it ends with the boot, as an armed trial does:
// its token is consumed, or boot finds that it was not tried.
const noHibernation = "/run/systemd/sleep.conf.d/zzz-beadm.conf"

const noHibernationText = `# beadm: a trial is armed or runs. The machine would not wake up in the system
# that went to sleep, and that one's memory would later be put over its disks.
[Sleep]
AllowHibernation=no
AllowHybridSleep=no
AllowSuspendThenHibernate=no
`

func (s *Session) inhibitHibernation() error {
	if !s.ofHost() || !initIsSystemd() {
		return nil
	}
	return putNoHibernation(noHibernation)
}

func (s *Session) allowHibernation() error {
	if !s.ofHost() {
		return nil
	}
	return dropNoHibernation(noHibernation)
}

func putNoHibernation(file string) error {
	if have, err := os.ReadFile(file); err == nil && string(have) == noHibernationText {
		return nil
	}
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(noHibernationText), 0o644)
	}
	if err != nil {
		return be.E(be.Other, "cannot inhibit hibernation for the trial: %w", err)
	}
	return nil
}

func dropNoHibernation(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot allow hibernation again: %w; it stays refused until the next boot", err)
	}
	return nil
}
