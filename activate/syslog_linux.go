package activate

import (
	"github.com/coreos/go-systemd/v22/journal"

	"beadm/be/state"
)

// messageIDs are what a monitor can ask the system's journal for
// (systemd.journal-fields(7), MESSAGE_ID); beadm(8) lists them.
var messageIDs = map[string]string{
	"activate": "7f99e7f4d44d4939ada2f220cbd331bd",
	"confirm":  "8e13dda571144165b3d2e1d803200701",
	"rollback": "a5fe89a23023491785ad607456072f01",
	"failed":   "c284e935370847fdafd1d4f2a4be3d4f",
	"conflict": "4a877d1e15b24b7ba7a852646bc5761e",
	"disarm":   "7943ff49aa9e4febb2b7bf7f855da2bc",
}

// syslog puts an event of the host in the system's journal, where there is
// one. What happens before it runs is told to it later (Notify).
func (s *Session) syslog(e state.Event, message string) {
	id := messageIDs[e.What]
	if id == "" || s.Root != "/" || !journal.Enabled() {
		return
	}
	priority := journal.PriNotice
	if e.What == "failed" || e.What == "conflict" {
		priority = journal.PriErr
	}
	err := journal.Send(printable(message), priority, map[string]string{
		"MESSAGE_ID": id, "SYSLOG_IDENTIFIER": "beadm", "BEADM_BE": e.BE, "BEADM_DETAIL": e.Detail,
	})
	if err != nil {
		s.Report.Warn("cannot write to the system's journal: %v", err)
	}
}
