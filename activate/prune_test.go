package activate

import (
	"slices"
	"testing"
	"time"

	"beadm/be"
	"beadm/be/state"
)

// What nobody needs goes, the oldest first; what anybody may need never does.
func TestChoose(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	made := func(name string, days int) be.BE {
		return be.BE{Name: name, UUID: be.NewUUID(), Created: now.Add(-time.Duration(days) * 24 * time.Hour)}
	}
	all := []be.BE{made("first", 100), made("second", 50), made("third", 20), made("fourth", 2)}
	two, none := 2, 0
	for name, c := range map[string]struct {
		opts  PruneOptions
		state func(st *state.State, all []be.BE)
		boots string
		goes  []string
	}{
		"all":                 {opts: PruneOptions{Keep: &none}, goes: []string{"first", "second", "third", "fourth"}},
		"all but two":         {opts: PruneOptions{Keep: &two}, goes: []string{"first", "second"}},
		"older than 30 days":  {opts: PruneOptions{Older: 30 * 24 * time.Hour}, goes: []string{"first", "second"}},
		"both":                {opts: PruneOptions{Keep: &two, Older: 60 * 24 * time.Hour}, goes: []string{"first"}},
		"until there is room": {opts: PruneOptions{UntilFree: 1}, goes: []string{"first", "second", "third", "fourth"}},
		"running":             {opts: PruneOptions{Keep: &none}, state: func(_ *state.State, all []be.BE) { all[0].Running = true }, goes: []string{"second", "third", "fourth"}},
		"incomplete":          {opts: PruneOptions{Keep: &none}, state: func(_ *state.State, all []be.BE) { all[0].Incomplete = true }, goes: []string{"second", "third", "fourth"}},
		"another tool's":      {opts: PruneOptions{Keep: &none}, state: func(_ *state.State, all []be.BE) { all[0].UUID = "" }, goes: []string{"second", "third", "fourth"}},
		"mounted":             {opts: PruneOptions{Keep: &none}, state: func(_ *state.State, all []be.BE) { all[0].Mountpoint = "/mnt" }, goes: []string{"second", "third", "fourth"}},
		"the default":         {opts: PruneOptions{Keep: &none}, state: func(st *state.State, all []be.BE) { st.Default = all[1].UUID }, goes: []string{"first", "third", "fourth"}},
		"the previous one":    {opts: PruneOptions{Keep: &none}, state: func(st *state.State, all []be.BE) { st.Previous = all[1].UUID }, goes: []string{"first", "third", "fourth"}},
		"the loader's":        {opts: PruneOptions{Keep: &none}, boots: "second", goes: []string{"first", "third", "fourth"}},
		"a trial": {opts: PruneOptions{Keep: &none}, state: func(st *state.State, all []be.BE) {
			st.Trial = &state.Trial{BE: all[1].UUID, From: all[2].UUID}
		}, goes: []string{"first", "fourth"}},
		"pinned": {opts: PruneOptions{Keep: &none}, state: func(st *state.State, all []be.BE) { st.Know(all[2].UUID).Pinned = true }, goes: []string{"first", "second", "fourth"}},
		"owing": {opts: PruneOptions{Keep: &none}, state: func(st *state.State, all []be.BE) {
			st.Owed = []state.Owed{{From: all[0].UUID}}
		}, goes: []string{"second", "third", "fourth"}},
		"failed": {opts: PruneOptions{Keep: &none}, state: func(st *state.State, all []be.BE) {
			st.Failures = []state.Failure{{BE: all[0].UUID}, {BE: all[1].UUID, Acknowledged: true}}
		}, goes: []string{"second", "third", "fourth"}},
		"the only good one": {opts: PruneOptions{Keep: &none}, state: func(st *state.State, all []be.BE) { st.Know(all[0].UUID).Good = true }, goes: []string{"second", "third", "fourth"}},
		"one of two good ones": {opts: PruneOptions{Keep: &none}, state: func(st *state.State, all []be.BE) {
			st.Know(all[0].UUID).Good = true
			st.Know(all[1].UUID).Good, all[1].Running = true, true
		}, goes: []string{"first", "third", "fourth"}},
		"what is kept counts for nothing": {opts: PruneOptions{Keep: &two}, state: func(_ *state.State, all []be.BE) { all[3].Running = true }, goes: []string{"first"}},
	} {
		st, list, boots := &state.State{}, slices.Clone(all), []string{""}
		if c.state != nil {
			c.state(st, list)
		}
		for _, b := range list {
			if b.Name == c.boots {
				boots = append(boots, b.ID())
			}
		}
		doomed, kept := choose(st, boots, list, c.opts, now)
		var goes []string
		for _, b := range doomed {
			goes = append(goes, b.Name)
		}
		if !slices.Equal(goes, c.goes) || len(goes)+len(kept) != len(all) {
			t.Errorf("%s: %v go, not %v; kept are %v", name, goes, c.goes, kept)
		}
	}
}

// Two that were confirmed, and nothing else: the older may go, never both.
func TestChooseLeavesOneThatIsGood(t *testing.T) {
	st, none := &state.State{}, 0
	a, b := be.BE{Name: "a", UUID: be.NewUUID()}, be.BE{Name: "b", UUID: be.NewUUID(), Created: time.Now()}
	st.Know(a.UUID).Good, st.Know(b.UUID).Good = true, true
	doomed, _ := choose(st, nil, []be.BE{a, b}, PruneOptions{Keep: &none}, time.Now())
	if len(doomed) != 1 || doomed[0].Name != "a" {
		t.Errorf("%v go", doomed)
	}
}
