package activate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"beadm/be"
	"beadm/be/state"
)

// notifyTime is the longest that the notify command of beadm.conf may take.
const notifyTime = 30 * time.Second

// untold are the failed trial and the conflicts that nobody was told of yet.
// Who rolled back himself knows.
func untold(st *state.State) (*state.Failure, []state.Conflict) {
	f := st.UnreadFailure()
	if f != nil && (f.Notified || f.Reason == state.ReasonOperator) {
		f = nil
	}
	var conflicts []state.Conflict
	for _, c := range st.Conflicts {
		if !c.Notified {
			conflicts = append(conflicts, c)
		}
	}
	return f, conflicts
}

// tell has the system's journal and the notify command told of what boot
// found: by systemd, once services and the network are up, or at once where
// boot is not the first thing that runs. As long as the command has not
// succeeded the next boot tries again.
func (s *Session) tell(ctx context.Context, running string) error {
	f, conflicts := untold(s.State)
	if f == nil && len(conflicts) == 0 {
		return nil
	}
	if s.Root == "/" && initIsSystemd() {
		return writeUnits(runtimeUnits, map[string]string{notifyUnit: notifyUnit}, []string{"multi-user.target.wants/" + notifyUnit})
	}
	if s.Conf.Notify == "" {
		return nil
	}
	if err := s.Conf.notify(ctx, f, conflicts, running); err != nil {
		return err
	}
	told(s.State, f, conflicts)
	return s.save()
}

const notifyUnit = "beadm-notify.service"

// tellConfirmed is tell once a trial is over and the system runs: what its boot
// found is told at once. Before that a command that fails would be a unit that
// fails, and end the trial.
func (s *Session) tellConfirmed(ctx context.Context, running string) error {
	if err := s.tell(ctx, running); err != nil {
		return err
	}
	if f, conflicts := untold(s.State); s.Root != "/" || !initIsSystemd() || f == nil && len(conflicts) == 0 {
		return nil
	}
	// Without waiting: it takes the lock that is held here.
	if err := startUnit(ctx, notifyUnit); err != nil {
		return fmt.Errorf("cannot start %s: %w; the next boot tries again", notifyUnit, err)
	}
	return nil
}

// Notify is what systemd runs for tell.
func (t *Target) Notify(ctx context.Context) error {
	s, err := t.Look(ctx)
	if err != nil {
		return err
	}
	f, conflicts := untold(s.State)
	running, err := t.running(ctx)
	if err == nil && f != nil {
		s.syslog(state.Event{What: "failed", BE: f.Name, Detail: f.Activation}, failureSentence(f, running.Name))
	}
	for _, c := range conflicts {
		s.syslog(state.Event{What: "conflict", BE: c.From, Detail: c.Path}, conflictSentence([]state.Conflict{c}))
	}
	s.Close()
	if err != nil || f == nil && len(conflicts) == 0 {
		return err
	}
	if err := t.Conf.notify(ctx, f, conflicts, running.Name); err != nil {
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
		told(s.State, f, conflicts)
		return s.save()
	}
}

// told notes that f, which may be nil, and conflicts were told of.
func told(st *state.State, f *state.Failure, conflicts []state.Conflict) {
	for i := range st.Failures {
		if f != nil && st.Failures[i].Activation == f.Activation {
			st.Failures[i].Notified = true
		}
	}
	for i, c := range st.Conflicts {
		for _, t := range conflicts {
			if c.Path == t.Path && c.At.Equal(t.At) {
				st.Conflicts[i].Notified = true
			}
		}
	}
}

// notify runs the command of beadm.conf, if there is one, with a line for each
// of what is to be told.
func (c Conf) notify(ctx context.Context, f *state.Failure, conflicts []state.Conflict, running string) error {
	if c.Notify == "" {
		return nil
	}
	var lines []string
	if f != nil {
		lines = append(lines, failureSentence(f, running))
	}
	if len(conflicts) > 0 {
		lines = append(lines, conflictSentence(conflicts))
	}
	return runNotify(ctx, c.Notify, strings.Join(lines, "\n"))
}

// conflictSentence is one line; empty without any.
func conflictSentence(list []state.Conflict) string {
	if len(list) == 0 {
		return ""
	}
	c := list[0]
	line := fmt.Sprintf("beadm: %s was changed in %s and here: %s", c.Path, c.From, c.Reason)
	if n := len(list) - 1; n > 0 {
		line += fmt.Sprintf("; and %d files more", n)
	}
	return printable(line + "; see beadm status")
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
		if r < ' ' || r >= 0x7f && r < 0xa0 {
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
	var said lastWords
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it ended well, as a mailer that goes on by itself does
	case ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("it took more than %s", notifyTime)
	}
	if err != nil {
		return fmt.Errorf("cannot notify: %w: %s", err, inBrief(string(bytes.TrimSpace(said.bytes()))))
	}
	return nil
}
