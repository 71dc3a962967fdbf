package activate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"beadm/be/state"
)

// putTrialUnits writes below dir what watches a trial by systemd.
func putTrialUnits(dir string, trial *state.Trial) error {
	files := map[string]string{
		"emergency.conf": "emergency.service.d/beadm.conf",
	}
	wants := []string{}
	if !trial.Once {
		files["beadm-deadman.service"] = "beadm-deadman.service"
		wants = append(wants, "sysinit.target.wants/beadm-deadman.service")
		if !trial.NoAutoConfirm {
			files["beadm-confirm.service"] = "beadm-confirm.service"
			files["beadm-confirm.timer"] = "beadm-confirm.timer"
			wants = append(wants, "timers.target.wants/beadm-confirm.timer")
		}
	}
	if err := writeUnits(dir, files, wants); err != nil || trial.Once {
		return err
	}
	// What it has to know is in its command line: it reads no disk before
	// the time is up, and a restart does not begin anew.
	text := fmt.Sprintf("[Service]\nExecStart=\nExecStart=%s trial-deadman %d %s\n", initPath, int64((sinceBoot() + trial.ConfirmWithin).Seconds()), trial.Activation)
	return writeUnit(dir, "beadm-deadman.service.d/trial.conf", []byte(text))
}

// dropTrialUnits removes what putTrialUnits wrote below dir and says whether
// there was any of it. What runs of it ends by itself.
func dropTrialUnits(dir string) (did bool, err error) {
	// The links first: nothing starts what is half taken away.
	for _, name := range []string{
		"timers.target.wants/beadm-confirm.timer", "sysinit.target.wants/beadm-deadman.service",
		"beadm-confirm.timer", "beadm-confirm.service", "beadm-deadman.service.d/trial.conf", "beadm-deadman.service",
		"emergency.service.d/beadm.conf",
	} {
		file := filepath.Join(dir, name)
		switch e := os.Remove(file); {
		case e == nil:
			did = true
			if in := filepath.Dir(file); in != dir {
				syscall.Rmdir(in) // if nobody else has something there
			}
		case !errors.Is(e, fs.ErrNotExist):
			err = errors.Join(err, e)
		}
	}
	return did, err
}
