package activate

import (
	"context"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/state"
)

type emptyStore struct{ be.Store }

func (emptyStore) List(context.Context) ([]be.BE, error) { return nil, nil }

type consumed struct{ boot.Loader }

func (consumed) ClearTried(context.Context) error { return nil }

// TestNotHeardOfAgain: what is said of a consumed token is no more than what
// is known. GRUB's menu tells of a pick, systemd-boot's does not.
func TestNotHeardOfAgain(t *testing.T) {
	const heard = "the loader started it and nothing more was heard"
	for kind, want := range map[string]string{
		"grub": heard, "stub": heard,
		"systemd-boot": heard + ", or another entry was chosen at its menu",
	} {
		dir, err := state.Open(t.TempDir(), "store", true)
		if err != nil {
			t.Fatal(err)
		}
		uuid := be.UUID(strings.Repeat("1", 32))
		s := &Session{Target: &Target{Store: emptyStore{}, Root: t.TempDir()}, Dir: dir, Loader: consumed{}, State: &state.State{
			Version: state.Version, Loader: state.LoaderConfig{Kind: kind},
			Trial: &state.Trial{Activation: be.NewToken(), BE: uuid, Phase: state.Armed, ArmedAt: time.Now().UTC()},
		}}
		f, err := s.settle(t.Context(), be.BE{}, boot.State{Tried: uuid.ID()})
		if err != nil || f == nil || f.Reason != state.ReasonNoUserland || f.Detail != want {
			t.Errorf("%s: %+v %v", kind, f, err)
		}
	}
}

// A person who chose another at the menu has not let the trial fail; one who
// chose another than that of some other trial has nothing to do with it.
func TestPassedAtTheMenu(t *testing.T) {
	uuid, other := be.UUID(strings.Repeat("1", 32)), be.UUID(strings.Repeat("2", 32))
	for cmdline, failed := range map[string]bool{
		"quiet": true, boot.ArgPassed + "=" + other.ID(): true, boot.ArgPassed + "=": true, boot.ArgPassed + "=" + uuid.ID(): false,
	} {
		dir, err := state.Open(t.TempDir(), "store", true)
		if err != nil {
			t.Fatal(err)
		}
		s := &Session{Target: &Target{Store: emptyStore{}, Root: t.TempDir(), Cmdline: []byte(cmdline)}, Dir: dir, Loader: consumed{}, State: &state.State{
			Version: state.Version, Loader: state.LoaderConfig{Kind: "grub"},
			Trial: &state.Trial{Activation: be.NewToken(), BE: uuid, Phase: state.Armed, ArmedAt: time.Now().UTC()},
		}}
		f, err := s.settle(t.Context(), be.BE{Name: "old"}, boot.State{Tried: uuid.ID()})
		if err != nil || (f != nil) != failed || (s.State.NotTried == nil) != failed || s.State.Trial != nil {
			t.Errorf("%q: %+v, not tried %+v, %v", cmdline, f, s.State.NotTried, err)
		}
	}
}
