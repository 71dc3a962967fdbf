package activate

import (
	"context"
	"errors"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/state"
)

// unreadLoader has a token in variables that cannot be read.
type unreadLoader struct {
	boot.Loader
	err      error
	stubborn bool // taking the token back does not help
	disarmed bool
}

func (l *unreadLoader) State(context.Context) (boot.State, error) {
	if l.disarmed && !l.stubborn {
		return boot.State{Default: uuidOf("1").ID()}, nil
	}
	return boot.State{}, l.err
}
func (l *unreadLoader) Disarm(context.Context) error { l.disarmed = true; return nil }

// TestRecoverTakesBackWhatCannotBeRead, and leaves alone a loader that is not
// there, or answers.
func TestRecoverTakesBackWhatCannotBeRead(t *testing.T) {
	unread := be.E(be.Unbootable, "cannot read the UEFI variable BootNext: input/output error")
	for _, c := range []struct {
		name     string
		l        *unreadLoader
		says     string
		disarmed bool
	}{
		{"cannot be read", &unreadLoader{err: unread}, "BootNext", true},
		{"nor afterwards", &unreadLoader{err: unread, stubborn: true}, "", true},
		{"not there", &unreadLoader{err: be.E(be.NoStore, "not there")}, "", false},
		{"answers", &unreadLoader{}, "", false},
		{"fails otherwise", &unreadLoader{err: errors.New("input/output error")}, "taken back", true},
	} {
		s := &Session{Target: &Target{}, Loader: c.l, State: &state.State{}}
		got := s.disarmUnread(t.Context())
		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) || c.l.disarmed != c.disarmed {
			t.Errorf("%s: %q, disarmed: %v", c.name, got, c.l.disarmed)
		}
	}
}
