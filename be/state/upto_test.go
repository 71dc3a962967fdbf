package state

import (
	"testing"
	"time"
)

// A clone of a snapshot lacks what was written since the snapshot, or, if that
// was made while another one ran, since the run before it.
func TestUpToAt(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }
	none := time.Time{}
	for _, c := range []struct {
		known   Known
		at      time.Time
		running bool
		want    time.Time
	}{
		{Known{RanFrom: at(5)}, at(7), true, at(7)},               // the present run
		{Known{RanFrom: at(5)}, at(3), true, none},                // before setup
		{Known{RanFrom: at(5), UpTo: at(2)}, at(3), true, at(2)},  // before the present run
		{Known{RanFrom: at(5), UpTo: at(2)}, at(1), true, none},   // before the run before
		{Known{RanFrom: at(5), UpTo: at(8)}, at(9), false, at(8)}, // after its run
		{Known{RanFrom: at(5), UpTo: at(8)}, at(6), false, at(6)}, // in its run
		{Known{RanFrom: at(5), UpTo: at(8)}, at(4), false, none},  // before it
		{Known{UpTo: at(2)}, at(3), false, at(2)},                 // a clone that never ran
		{Known{}, at(3), false, none},                             // nothing is known
	} {
		if got := c.known.UpToAt(c.at, c.running); !got.Equal(c.want) {
			t.Errorf("%+v at %v, running %t: %v, wanted %v", c.known, c.at, c.running, got, c.want)
		}
	}
}
