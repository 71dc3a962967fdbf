package mirror_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/loadertest"
	"beadm/activate/boot/mirror"
	"beadm/be"
)

func TestContract(t *testing.T) {
	both(t, func(t *testing.T, sd bool) {
		loadertest.Run(t, func(t *testing.T) loadertest.Fixture {
			d := newDisks(t, sd)
			return loadertest.Fixture{
				Loader: func(step func(string) error) boot.Loader {
					if step != nil {
						inner := step
						step = func(effect string) error {
							if err := inner(effect); err != nil {
								return errors.Join(errCut, err)
							}
							return nil
						}
					}
					return d.loader(step)
				},
				Play: func() (loadertest.Played, error) { return d.start(0) },
			}
		})
	})
}

var (
	idA, idB, idC = loadertest.ID("a"), loadertest.ID("b"), loadertest.ID("c")
	a, b          = loadertest.Played{ID: idA}, loadertest.Played{ID: idB}
	trialB        = loadertest.Played{ID: idB, Trial: true}
	trialC        = loadertest.Played{ID: idC, Trial: true}
)

// TestCuts cuts every change at every effect, on every disk: whichever disk is
// then started comes up in the old or the new one, a mirror of GRUB's never in
// a trial; and when it was done again both are alike.
func TestCuts(t *testing.T) {
	ctx := t.Context()
	none := func(*mirror.Loader) error { return nil }
	arm := func(id string) func(*mirror.Loader) error {
		return func(l *mirror.Loader) error { return l.Arm(ctx, id) }
	}
	for _, op := range []struct {
		name     string
		prepare  func(l *mirror.Loader) error
		do       func(l *mirror.Loader) error
		old, new loadertest.Played
	}{
		{"put new", none, func(l *mirror.Loader) error { return l.Put(ctx, loadertest.Entry("d", "D")) }, a, a},
		{"put changed default", none, func(l *mirror.Loader) error { return l.Put(ctx, loadertest.Entry("a", "other")) }, a, a},
		{"arm", none, arm(idB), a, trialB},
		{"arm another", arm(idC), arm(idB), trialC, trialB},
		{"disarm", arm(idB), func(l *mirror.Loader) error { return l.Disarm(ctx) }, trialB, a},
		{"set default", none, func(l *mirror.Loader) error { return l.SetDefault(ctx, idB) }, a, b},
		{"remove", none, func(l *mirror.Loader) error { return l.Remove(ctx, idC) }, a, a},
		{"remove the default before", func(l *mirror.Loader) error { return l.SetDefault(ctx, idB) },
			func(l *mirror.Loader) error { return l.Remove(ctx, idA) }, b, b},
		{"install again", none, func(l *mirror.Loader) error { return l.Install(ctx, loadertest.Entry("a", "A")) }, a, a},
	} {
		t.Run(op.name, func(t *testing.T) {
			both(t, func(t *testing.T, sd bool) {
				for n := 0; ; n++ {
					d := newDisks(t, sd)
					d.ok(op.prepare(d.installed("a", "b", "c")))
					at, count := "", 0
					err := op.do(d.loader(func(effect string) error {
						if count++; count > n {
							if at == "" {
								at = effect
							}
							return errCut
						}
						return nil
					}))
					if count > n && !errors.Is(err, errCut) {
						t.Errorf("cut %d, %s: %v", n, at, err)
					} else if count <= n {
						d.ok(err)
					}
					for i := range 2 {
						got := d.plays(i)
						right := got == op.old || got == op.new
						if i == 1 && sd && strings.HasPrefix(op.name, "arm") {
							// A token that leads to no entry there starts the default.
							right = right || got == a
						}
						if i == 1 && !sd {
							right = !got.Trial && (got.ID == idA || got.ID == idB && op.new.ID == idB && !op.new.Trial)
						}
						if !right {
							t.Errorf("cut %d, %s: disk %d boots %+v, want %+v or %+v", n, at, i+1, got, op.old, op.new)
						}
					}
					if count <= n {
						if n == 0 {
							t.Fatal("it has no effects")
						}
						break
					}
					d.ok(op.do(d.ready()))
					d.calm()
					alike(t, d, op.name)
					if t.Failed() {
						return
					}
				}
			})
		})
	}
}

// alike fails unless both disks hold the same, but for a token.
func alike(t *testing.T, d *disks, where string) {
	t.Helper()
	l := d.loader(nil)
	for _, h := range l.Health(t.Context()) {
		if h.Trouble != nil {
			t.Errorf("%s: %s: %v", where, h.Name, h.Trouble)
		}
	}
	want, err := l.State(t.Context())
	ids, err2 := l.Entries(t.Context())
	d.ok(errors.Join(err, err2))
	for i, m := range l.Members() {
		s, err := m.Copy.State(t.Context())
		have, err2 := m.Copy.Entries(t.Context())
		d.ok(errors.Join(err, err2))
		if s.Default != want.Default || !slices.Equal(have, ids) {
			t.Errorf("%s: disk %d has the default %s and %q, want %s and %q", where, i+1, s.Default, have, want.Default, ids)
		}
		if m.Name != l.Primary() && !d.sdboot && (s.Trial != "" || s.Tried != "") {
			t.Errorf("%s: the mirror knows of a trial: %+v", where, s)
		}
	}
}

// TestArmedOnOneDisk: the trial is the primary's; the other disk runs the
// default, with GRUB. With systemd-boot whichever is started runs it, once.
func TestArmedOnOneDisk(t *testing.T) {
	both(t, func(t *testing.T, sd bool) {
		d := newDisks(t, sd)
		d.ok(d.installed("a", "b").Arm(t.Context(), idB))
		d.calm()
		want := []loadertest.Played{a, trialB, a}
		if sd {
			want = []loadertest.Played{trialB, a, a}
		}
		for i, disk := range []int{1, 0, 0} {
			if got, err := d.start(disk); err != nil || got != want[i] {
				t.Errorf("start %d, from disk %d: %+v %v, want %+v", i+1, disk+1, got, err, want[i])
			}
		}
		if s, err := d.loader(nil).State(t.Context()); err != nil || s.Tried != idB {
			t.Errorf("%+v %v", s, err)
		}
	})
}

// TestReturnsStale: a disk that was away comes back with an old default and an
// old token. Nothing of it is believed, and the next command makes it alike.
func TestReturnsStale(t *testing.T) {
	both(t, func(t *testing.T, sd bool) {
		ctx := t.Context()
		d := newDisks(t, sd)
		l := d.installed("a", "b", "c")
		if !sd {
			d.ok(l.Arm(ctx, idC))
		}
		d.away[0] = true
		if p, err := d.start(1); err != nil || p != a {
			t.Fatalf("%+v %v", p, err)
		}
		l = d.ready()
		if l.Primary() != names[1] {
			t.Fatalf("the primary is %s", l.Primary())
		}
		if h := l.Health(ctx); !h[0].Away || h[0].Trouble == nil || h[0].Primary || !h[1].Primary || h[1].Trouble != nil {
			t.Errorf("health is %+v", h)
		}
		d.ok(l.SetDefault(ctx, idB))
		d.ok(l.Remove(ctx, idA))
		d.ok(l.Put(ctx, loadertest.Entry("d", "D")))
		d.calm()
		d.away[0] = false
		d.started = -1 // nothing tells
		l = d.loader(nil)
		if s, err := l.State(ctx); err != nil || s != (boot.State{Default: idB}) {
			t.Errorf("the disk that is back is believed: %+v %v", s, err)
		}
		if h := l.Health(ctx); h[0].Trouble == nil {
			t.Errorf("nothing is said of the disk that is back: %+v", h)
		}
		d.ready()
		d.calm()
		alike(t, d, "back")
		for i := range 2 {
			if p := d.plays(i); p != b {
				t.Errorf("disk %d boots %+v", i+1, p)
			}
		}
		// And the firmware that starts the first again makes it the primary.
		if p, err := d.start(0); err != nil || p != b {
			t.Fatalf("%+v %v", p, err)
		}
		if l = d.ready(); l.Primary() != names[0] {
			t.Errorf("the primary is %s", l.Primary())
		}
		d.ok(l.Arm(ctx, idC))
		if p, err := d.start(0); err != nil || p != trialC {
			t.Errorf("%+v %v", p, err)
		}
	})
}

// TestOldToken: the default is the same still, the token is not to be there.
func TestOldToken(t *testing.T) {
	d := newDisks(t, false)
	d.ok(d.installed("a", "b").Arm(t.Context(), idB))
	d.away[0] = true
	if p, err := d.start(1); err != nil || p != a {
		t.Fatalf("%+v %v", p, err)
	}
	d.ready()
	d.away[0] = false
	if p := d.plays(0); p != trialB {
		t.Fatalf("the old token is not there: %+v", p)
	}
	d.ready()
	if p := d.plays(0); p != a {
		t.Errorf("the disk that is back boots %+v", p)
	}
}

// TestArmRefusesWhereItIsNotStarted: a token that nobody will take is none.
func TestArmRefusesWhereItIsNotStarted(t *testing.T) {
	d := newDisks(t, false)
	l := d.installed("a", "b")
	if _, err := d.start(1); err != nil {
		t.Fatal(err)
	}
	l = d.loader(nil)
	err := l.Arm(t.Context(), idB)
	if be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), "was started from the loader on "+names[1]) {
		t.Errorf("%v", err)
	}
	d.ok(d.ready().Arm(t.Context(), idB))
	if p, err := d.start(1); err != nil || p != trialB {
		t.Errorf("%+v %v", p, err)
	}
}

// TestMirrorThatCannotFollow: what boots there by default is not removed.
func TestMirrorThatCannotFollow(t *testing.T) {
	d := newDisks(t, true)
	d.installed("a")
	full := d.loader(nil)
	full.Mirror(0, mirrorThatIsFull{full.Members()[1].Copy})
	d.ok(full.Put(t.Context(), loadertest.Entry("b", "B")))
	d.ok(full.SetDefault(t.Context(), idB))
	if len(d.trouble) == 0 {
		t.Error("nothing is said of the mirror")
	}
	err := full.Remove(t.Context(), idA)
	if be.KindOf(err) != be.InUse || !strings.Contains(err.Error(), names[1]) {
		t.Errorf("%v", err)
	}
	for i, want := range []loadertest.Played{b, a} {
		if p := d.plays(i); p != want {
			t.Errorf("disk %d boots %+v, want %+v", i+1, p, want)
		}
	}
	d.trouble = nil
	d.ok(d.ready().Remove(t.Context(), idA))
	d.calm()
	alike(t, d, "with room")
}
