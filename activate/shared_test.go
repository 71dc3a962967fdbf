package activate

import (
	"slices"
	"testing"
	"time"

	"beadm/be"
	"beadm/share"
)

func TestOldSnapshots(t *testing.T) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	snap := func(of string, days int) be.Snapshot {
		return be.Snapshot{Name: share.SnapshotName(of, now.AddDate(0, 0, -days))}
	}
	all := []be.Snapshot{
		snap("a-1", 200), snap("a-1", 199), snap("b", 100), snap("failed", 90), snap("c", 60), snap("d", 50), snap("d", 49), snap("e", 40),
		{Name: "mine"}, {Name: "beadm-mine"},
	}
	keep := map[string]bool{"failed": true}
	want := []string{all[2].Name, all[1].Name, all[0].Name}
	if got := oldSnapshots(all, now, keep); !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
	for i := range 20 {
		all = append(all, snap("young"+string(rune('a'+i)), 0), snap("old"+string(rune('a'+i)), 13))
	}
	want = append([]string{all[7].Name, all[6].Name, all[5].Name, all[4].Name}, want...)
	if got := oldSnapshots(all, now, keep); !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
	// A clock that was wrong does not cost the last ones.
	if got := oldSnapshots([]be.Snapshot{snap("a", 0), snap("b", 1), snap("c", 2)}, now.AddDate(20, 0, 0), nil); got != nil {
		t.Errorf("%q", got)
	}
}
