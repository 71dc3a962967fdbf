package mirror_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/mirror"
)

// TestRandom: disks vanish and come back, the power is cut at any effect, the
// firmware starts any disk that is there. Always: a disk that was there when
// the last command ran boots the default, before or after that command, or the
// trial that is armed on it, and that once; nothing that was removed starts
// from it; and a command that ends leaves all that are there alike.
func TestRandom(t *testing.T) {
	both(t, func(t *testing.T, sd bool) {
		rapid.Check(t, func(rt *rapid.T) {
			ctx := t.Context()
			d := newDisks(t, sd)
			d.installed("a", "b")
			fresh := [2]bool{true, true}
			allowed := []string{idA} // defaults, of which one boots
			trial := ""              // armed, perhaps
			for range rapid.IntRange(5, 40).Draw(rt, "length") {
				id := loadertest.ID(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "be"))
				disk := rapid.IntRange(0, 1).Draw(rt, "disk")
				switch op := rapid.SampledFrom([]string{"away", "back", "start", "put", "arm", "disarm", "default", "remove"}).Draw(rt, "op"); op {
				case "away":
					if !d.away[1-disk] {
						d.away[disk] = true
					}
				case "back":
					d.away[disk] = false
				case "start":
					if d.away[disk] {
						continue
					}
					got, err := d.start(disk)
					if err != nil || got.ID == "" {
						rt.Fatalf("disk %d boots nothing: %v", disk+1, err)
					}
					if !fresh[disk] {
						continue
					}
					if got.Trial && got.ID != trial || !got.Trial && !slices.Contains(allowed, got.ID) {
						rt.Fatalf("disk %d boots %+v, want one of %q or the trial of %q", disk+1, got, allowed, trial)
					}
					if got.Trial {
						trial = ""
					}
				default:
					// Where only a disk is there that was away when something was
					// changed, nobody knows better than it does.
					known := fresh[0] && !d.away[0] || fresh[1] && !d.away[1]
					for i := range 2 {
						fresh[i] = !d.away[i]
					}
					l := d.ready()
					s, err := l.State(ctx)
					if err != nil {
						rt.Fatal(err)
					}
					if known && (!slices.Contains(allowed, s.Default) || s.Trial != "" && s.Trial != trial) {
						rt.Fatalf("the state is %+v, want a default of %q and perhaps the trial of %q", s, allowed, trial)
					}
					// Whoever opens it knows what is true now.
					allowed, trial = []string{s.Default}, s.Trial
					cut := rapid.IntRange(0, 30).Draw(rt, "cut")
					err = do(op, d.loader(func(string) error {
						if cut--; cut < 0 {
							return errCut
						}
						return nil
					}), id, t)
					was := errors.Is(err, errCut)
					if (err == nil || was) && op == "default" {
						if allowed = []string{id}; was {
							allowed = append(allowed, s.Default)
						} else {
							trial = ""
						}
					}
					if (err == nil || was) && op == "arm" {
						trial = id
						if was && s.Trial != "" {
							// The one or the other: who opens it sees which.
							d.ok(d.loader(nil).Disarm(ctx))
							trial = ""
						}
					}
					if err == nil && op == "disarm" {
						trial = ""
					}
					if err == nil {
						if !d.away[0] && !d.away[1] {
							alike(t, d, op)
						}
					}
				}
				if t.Failed() {
					rt.Fatal("see above")
				}
			}
		})
	})
}

func do(op string, l *mirror.Loader, id string, t *testing.T) error {
	switch op {
	case "put":
		return l.Put(t.Context(), loadertest.Entry(id[1:2], "BE"))
	case "arm":
		return l.Arm(t.Context(), id)
	case "disarm":
		return l.Disarm(t.Context())
	case "default":
		return l.SetDefault(t.Context(), id)
	}
	return l.Remove(t.Context(), id)
}
