package activate

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// noticeFile is shown at every login (pam_motd(8)), lives as long as the boot
// and is in no boot environment. Other systems than Linux have no such place.
const noticeFile = "/run/motd.d/beadm"

// notice tells whoever logs in what the state machine wants to be seen: a
// failed trial that nobody has read, a boot that could not do all. Without any
// the file goes away. A guest is watched by its host.
func (s *Session) notice() error {
	if runtime.GOOS != "linux" || !s.ofHost() {
		return nil
	}
	var lines []string
	if f := s.State.UnreadFailure(); f != nil {
		line := fmt.Sprintf("beadm: the trial of %s failed at %s: %s", f.Name, f.At.Local().Format("2006-01-02 15:04:05"), f.Reason)
		if f.Detail != "" {
			line += ": " + f.Detail
		}
		lines = append(lines, line, "beadm: this is the old system; beadm status --acknowledge ends this notice")
	}
	for _, o := range s.State.Owed {
		lines = append(lines, "beadm: not all was carried over at boot, run beadm recover: "+o.Why)
	}
	if line := conflictSentence(s.State.Conflicts); line != "" {
		lines = append(lines, line)
	}
	if t := s.State.Trouble; t != nil {
		lines = append(lines, "beadm: boot went on without: "+t.Why)
	}
	if len(lines) == 0 {
		if err := os.Remove(noticeFile); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("cannot take the login notice away: %w", err)
		}
		return nil
	}
	for i, l := range lines {
		lines[i] = printable(l)
	}
	if err := os.MkdirAll(filepath.Dir(noticeFile), 0o755); err != nil {
		return fmt.Errorf("cannot write the login notice: %w", err)
	}
	if err := os.WriteFile(noticeFile, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return fmt.Errorf("cannot write the login notice: %w", err)
	}
	return nil
}

// NoticeBoot is the login notice of a boot that could not even read the state.
// It is best effort: the kernel's log has it too.
func NoticeBoot(cause error) {
	if runtime.GOOS != "linux" {
		return
	}
	text := "beadm: this boot went on without it: " + strings.ReplaceAll(cause.Error(), "\n", "; ") + "\n"
	if os.MkdirAll(filepath.Dir(noticeFile), 0o755) == nil {
		os.WriteFile(noticeFile, []byte(text), 0o644)
	}
}
