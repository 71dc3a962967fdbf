//go:build !linux

package activate

import "beadm/be/state"

func (s *Session) syslog(state.Event, string) {}
