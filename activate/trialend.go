package activate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"beadm/activate/boot"
	"beadm/be/state"
)

// endedFile, in Target.Runtime, names the activation whose trial was confirmed
// in this boot; a guest's is another, since its trial says nothing of the
// host's. Who watches the trial reads that first: on Linux and illumos it needs
// no disk and ends with the boot, and nowhere a lock.
const (
	endedFile      = "ended"
	endedFileGuest = "ended-guest"
)

// trialIsOver says whether the trial of activation was confirmed, by what the
// targets' runtime directories below runtimes say.
func trialIsOver(runtimes, activation string) bool {
	files, _ := filepath.Glob(filepath.Join(runtimes, "*", endedFile+"*"))
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && activation != "" && strings.TrimSpace(string(b)) == activation {
			return true
		}
	}
	return false
}

// hostsTrialIsOver is trialIsOver for the host where nobody knows the
// activation: a boot has one trial at most.
func hostsTrialIsOver(runtimes string) bool {
	files, _ := filepath.Glob(filepath.Join(runtimes, "*", endedFile))
	return len(files) > 0
}

// markEnded tells who watches the trial of activation that it is over, and
// takes away what was written for it. The loader's default is changed already:
// a reset would bring nothing back. What fails of it is said, and keeps nothing
// from being confirmed.
func (s *Session) markEnded(activation string) {
	name := endedFileGuest
	if s.ofHost() {
		name = endedFile
	}
	err := s.private(s.Runtime)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Runtime, name), []byte(activation+"\n"), 0o600)
	}
	if err != nil {
		s.Report.Warn("cannot tell the dead-man timer that the trial is over: %v", err)
	}
	if s.ofHost() {
		if err := unwatchTrial(); err != nil {
			s.Report.Warn("cannot take away what watched the trial: %v; it goes with the next boot", err)
		}
	}
}

// EndTrial is what systemd runs in place of a prompt that nobody would answer:
// it records why the trial that runs has failed, and resets. Where no trial
// runs, or it is over, it only says so, as false. Who cannot say within 30
// seconds believes the kernel's command line, unless a trial was confirmed
// since: see Deadman for runtimes and open.
func EndTrial(ctx context.Context, reason, detail string, cmdline []byte, runtimes string, open func() (*Target, error), reset func()) (bool, error) {
	type answer struct {
		runs bool
		err  error
	}
	said := make(chan answer, 1)
	go func() {
		t, err := open()
		if err != nil {
			said <- answer{false, err}
			return
		}
		runs, err := t.trialRuns(ctx)
		if runs {
			if err := t.FailTrial(ctx, reason, detail, nil); err != nil {
				t.Report.Warn("%v", err)
			}
		}
		said <- answer{runs, err}
	}()
	var a answer
	select {
	case a = <-said:
	case <-time.After(answerTime):
		a.err = fmt.Errorf("it took longer than %s", answerTime)
	}
	if a.err != nil {
		a.err = fmt.Errorf("cannot see whether a trial runs: %w", a.err)
		_, claims := boot.Cmdline(cmdline)
		a.runs = claims && !hostsTrialIsOver(runtimes)
	}
	if a.runs {
		reset()
	}
	return a.runs, a.err
}

// onceStarts is how long a boot environment that was activated with -t may take
// to start, in which emergency mode is a fault that nobody is there to see.
const onceStarts = 10 * time.Minute

// StartsOnce says of a system without a trial, by the kernel's command line and
// the time since it was started, that it was started once and starts still: in
// emergency mode it is to be reset, for the default to come back.
func StartsOnce(cmdline []byte, runtimes string, up time.Duration) bool {
	_, claims := boot.Cmdline(cmdline)
	return claims && !hostsTrialIsOver(runtimes) && up < onceStarts
}

// UpTime is the time since the system was started, sleep included.
func UpTime() time.Duration { return sinceBoot() }

// trialRuns says whether what runs is on trial.
func (t *Target) trialRuns(ctx context.Context) (bool, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return false, err
	}
	defer s.Close()
	if s.Dir == nil {
		return false, errors.New("the state file system is not there")
	}
	trial := s.State.Trial
	if trial == nil || trial.Phase != state.Trying {
		return false, nil
	}
	running, err := s.running(ctx)
	return err == nil && running.UUID == trial.BE, err
}
