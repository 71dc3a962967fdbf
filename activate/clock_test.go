package activate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"beadm/be"
	"beadm/be/state"
	"beadm/share"
)

// The clock was two hours ahead at boot, and has been set right since.
func TestClockAheadAtBoot(t *testing.T) {
	now := time.Now()
	s := &Session{Target: &Target{Root: "/"}, State: &state.State{}}
	tr := &state.Trial{Phase: state.Trying, TryingAt: now.Add(2 * time.Hour), ConfirmWithin: 10 * time.Minute, EndsUp: sinceBoot() + 9*time.Minute}
	if left := s.trialEnds(tr).Sub(now).Round(time.Minute); left != 9*time.Minute {
		t.Errorf("the trial ends in %s, want 9m", left)
	}

	uuid := be.UUID(strings.Repeat("1", 32))
	k, began := s.State.Know(uuid), now.Add(-sinceBoot())
	k.RanFrom, k.UpTo = began.Add(-100*time.Hour), began.Add(30*time.Minute)
	if since := s.lacksSince(be.BE{UUID: uuid}); !since.IsZero() {
		t.Errorf("what it lacks is looked for since %s only", since)
	}
	k.UpTo = began.Add(-time.Hour)
	if since := s.lacksSince(be.BE{UUID: uuid}); !since.Equal(k.UpTo) {
		t.Errorf("since %s, want %s", since, k.UpTo)
	}
}

// With a dead clock the newest switch is the oldest by its date.
func TestPruneWithADeadClock(t *testing.T) {
	now := time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC)
	var all []be.Snapshot
	var events []state.Event
	for i, at := range []time.Time{now.AddDate(0, -4, 0), now.AddDate(0, -3, 0), now.AddDate(0, -2, 0), now.AddDate(0, -1, 0), time.Date(2000, 1, 1, 0, 0, 12, 0, time.UTC)} {
		of := fmt.Sprintf("%016x", i+1)
		all = append(all, be.Snapshot{Name: share.SnapshotName(of, at), Created: at})
		events = append(events, state.Event{What: "activate", BE: "new", Detail: activationDetail + of}, state.Event{What: "confirm", BE: "new"})
	}
	last := lastActivations(events)
	if want := []string{fmt.Sprintf("%016x", 5), fmt.Sprintf("%016x", 4), fmt.Sprintf("%016x", 3)}; !slices.Equal(last, want) {
		t.Fatalf("the last: %q, want %q", last, want)
	}
	keep := map[string]bool{}
	for _, of := range last {
		keep[of] = true
	}
	if old := oldSnapshots(all, now, keep); !slices.Equal(old, []string{all[0].Name}) {
		t.Errorf("destroyed: %q", old)
	}
}
