package activate

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/state"
)

// notifyTime is the longest that the notify command of beadm.conf may take.
const notifyTime = 30 * time.Second

// untold is the failed trial that the notify command is still to tell of, or
// nil. Who rolled back himself knows.
func (s *Session) untold() *state.Failure {
	f := s.State.UnreadFailure()
	if f == nil || f.Notified || f.Reason == state.ReasonOperator || s.Conf.Notify == "" {
		return nil
	}
	return f
}

// tell has the notify command run: by systemd, once services and the network
// are up, or at once where boot is not the first thing that runs. As long as
// it has not succeeded the next boot tries again.
func (s *Session) tell(ctx context.Context, running string) error {
	f := s.untold()
	if f == nil {
		return nil
	}
	if s.Root == "/" && initIsSystemd() {
		const unit = "beadm-notify.service"
		return writeUnits(map[string]string{unit: unit}, []string{"multi-user.target.wants/" + unit})
	}
	if err := runNotify(ctx, s.Conf.Notify, failureSentence(f, running)); err != nil {
		return err
	}
	f.Notified = true
	return s.save()
}

// Notify is what systemd runs for tell.
func (t *Target) Notify(ctx context.Context) error {
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	f := s.untold()
	running, runErr := t.running(ctx)
	s.Close()
	if f == nil || runErr != nil {
		return runErr
	}
	if err := runNotify(ctx, t.Conf.Notify, failureSentence(f, running.Name)); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		s, err := t.Write(ctx)
		if be.KindOf(err) == be.Locked && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			return err
		}
		defer s.Close()
		for i := range s.State.Failures {
			if s.State.Failures[i].Activation == f.Activation {
				s.State.Failures[i].Notified = true
			}
		}
		return s.save()
	}
}

// failureSentence is one line without control characters: it goes to mail,
// pagers and terminals.
func failureSentence(f *state.Failure, running string) string {
	line := fmt.Sprintf("beadm: the trial of %s failed at %s: %s", f.Name, f.At.Local().Format("2006-01-02 15:04:05"), f.Reason)
	if f.Detail != "" {
		line += ": " + f.Detail
	}
	return printable(line + "; " + running + " runs again")
}

// printable is text as one line: a reason may hold what a program printed.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

func runNotify(ctx context.Context, command, sentence string) error {
	ctx, cancel := context.WithTimeout(ctx, notifyTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdin = strings.NewReader(sentence + "\n")
	cmd.WaitDelay = time.Second
	words, err := cmd.CombinedOutput()
	if ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("it took more than %s", notifyTime)
	}
	if err != nil {
		return fmt.Errorf("cannot notify of the failed trial: %w: %s", err, bytes.TrimSpace(words))
	}
	return nil
}
