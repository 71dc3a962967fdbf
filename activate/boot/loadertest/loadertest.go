// Package loadertest holds every boot.Loader to its contract, plays what the
// loader would boot after a cut before and after each of its effects, and has
// the truth table of what a loader makes of its files.
package loadertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"beadm/activate/boot"
	"beadm/be"
)

// Fixture is one loader on files of its own, not installed yet.
type Fixture struct {
	// Loader returns a new Loader on the fixture's files, which calls step
	// (if not nil) before and after every effect on the disk, and stops
	// without cleaning up when that fails.
	Loader func(step func(effect string) error) boot.Loader

	// Play does what the loader does when the machine is turned on.
	Play func() (Played, error)

	// Prepare makes what the entry needs to boot, if anything.
	Prepare func(t *testing.T, e boot.Entry)
}

// Entry is an entry that every loader accepts.
func Entry(letter, title string) boot.Entry {
	id := ID(letter)
	return boot.Entry{
		ID: id, Title: title,
		Root:   be.RootRef{FS: "vfat", FSUUID: "BEAD-BEAD", Prefix: "/roots/" + id, Args: []string{"root=" + id}},
		Kernel: "/vmlinuz", Initrd: "/initrd.img",
		Args: []string{"quiet"}, TrialArgs: boot.TrialArgs(5),
	}
}

type suite struct {
	t   *testing.T
	fix Fixture
	boot.Loader
}

func start(t *testing.T, fix Fixture, letters ...string) suite {
	t.Helper()
	s := suite{t, fix, fix.Loader(nil)}
	for i, letter := range letters {
		e := Entry(letter, "BE "+letter)
		if fix.Prepare != nil {
			fix.Prepare(t, e)
		}
		if i == 0 {
			s.ok(s.Install(context.Background(), e))
		} else {
			s.ok(s.Put(context.Background(), e))
		}
	}
	return s
}

func (s suite) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s suite) kind(err error, want be.Kind) {
	s.t.Helper()
	if be.KindOf(err) != want {
		s.t.Errorf("error %v is of kind %d, want %d", err, be.KindOf(err), want)
	}
}

// state also asks a second Loader: nothing may be only in memory.
func (s suite) state(def, trial, tried string) {
	s.t.Helper()
	want := boot.State{Default: letterID(def), Trial: letterID(trial), Tried: letterID(tried)}
	for _, l := range []boot.Loader{s.Loader, s.fix.Loader(nil)} {
		if got, err := l.State(context.Background()); err != nil || got != want {
			s.t.Errorf("state is %+v %v, want %+v", got, err, want)
		}
	}
}

func letterID(letter string) string {
	if letter == "" {
		return ""
	}
	return ID(letter)
}

func (s suite) boots(letter string, trial bool) {
	s.t.Helper()
	got, err := s.fix.Play()
	if want := (Played{ID(letter), trial}); err != nil || got != want {
		s.t.Errorf("boots %+v %v, want %+v", got, err, want)
	}
}

func (s suite) entries(letters ...string) {
	s.t.Helper()
	var want []string
	for _, l := range letters {
		want = append(want, ID(l))
	}
	if got, err := s.Entries(context.Background()); err != nil || !slices.Equal(got, want) {
		s.t.Errorf("entries are %q %v, want %q", got, err, want)
	}
}

// Run runs the suite. Each call of fixture makes a new one.
func Run(t *testing.T, fixture func(t *testing.T) Fixture) {
	ctx := context.Background()
	a, b, c, d := ID("a"), ID("b"), ID("c"), ID("d")

	t.Run("not installed", func(t *testing.T) {
		s := start(t, fixture(t))
		if s.Name() == "" {
			t.Error("it has no name")
		}
		s.kind(s.Probe(ctx), be.NoStore)
		s.kind(s.Put(ctx, Entry("a", "A")), be.NoStore)
		_, err := s.Entries(ctx)
		s.kind(err, be.NoStore)
		_, err = s.State(ctx)
		s.kind(err, be.NoStore)
		s.kind(s.Disarm(ctx), be.NoStore)
		s.kind(s.ClearTried(ctx), be.NoStore)
		s.kind(s.Remove(ctx, a), be.NoStore)
		if s.Arm(ctx, a) == nil || s.SetDefault(ctx, a) == nil {
			t.Error("armed or set without being installed")
		}
	})

	t.Run("ids", func(t *testing.T) {
		s := start(t, fixture(t), "a")
		for _, id := range []string{"", "a", "../b0123456789a", "B0123456789AB", "b0123456789abc", "b0123456789ab\n", ">baaaaaaaaaaa"} {
			e := Entry("b", "B")
			e.ID = id
			for what, err := range map[string]error{
				"Put": s.Put(ctx, e), "Arm": s.Arm(ctx, id), "SetDefault": s.SetDefault(ctx, id), "Remove": s.Remove(ctx, id),
			} {
				if err == nil {
					t.Errorf("%s accepts %q", what, id)
				}
			}
		}
		s.entries("a")
		s.state("a", "", "")
	})

	t.Run("install", func(t *testing.T) {
		s := start(t, fixture(t), "a")
		s.ok(s.Probe(ctx))
		s.state("a", "", "")
		s.entries("a")
		s.ok(s.CheckEntry(ctx, a, Entry("a", "A").Root))
		s.kind(s.CheckEntry(ctx, b, Entry("b", "B").Root), be.NotFound)
		s.boots("a", false)
		s.ok(s.Put(ctx, Entry("b", "B")))
		s.ok(s.SetDefault(ctx, b))
		s.ok(s.Arm(ctx, a))
		s.ok(s.Install(ctx, Entry("c", "C"))) // keeps what is there
		s.state("b", "a", "")
		s.boots("a", true)
		s.ok(s.Install(ctx, Entry("c", "C")))
		s.state("b", "", "a")
		s.boots("b", false)
	})

	t.Run("trial", func(t *testing.T) {
		s := start(t, fixture(t), "b", "a", "c")
		s.entries("a", "b", "c")
		s.kind(s.Arm(ctx, d), be.NotFound)
		s.state("b", "", "")
		for range 2 {
			s.ok(s.Arm(ctx, c))
			s.state("b", "c", "")
		}
		s.ok(s.Arm(ctx, a)) // in place of c
		s.state("b", "a", "")
		s.boots("a", true)
		s.state("b", "", "a")
		s.boots("b", false) // once
		s.boots("b", false)
		s.state("b", "", "a")
		s.ok(s.Disarm(ctx)) // nothing to disarm; tried stays
		s.state("b", "", "a")
		for range 2 {
			s.ok(s.ClearTried(ctx))
			s.state("b", "", "")
		}
		s.ok(s.Arm(ctx, c))
		s.boots("c", true)
		s.ok(s.Arm(ctx, c)) // again: clears tried
		s.state("b", "c", "")
		for range 2 {
			s.ok(s.Disarm(ctx))
			s.state("b", "", "")
		}
		s.boots("b", false)
	})

	t.Run("default", func(t *testing.T) {
		s := start(t, fixture(t), "a", "b")
		s.kind(s.SetDefault(ctx, d), be.NotFound)
		s.state("a", "", "")
		s.ok(s.Arm(ctx, b))
		s.boots("b", true)
		for range 2 {
			s.ok(s.SetDefault(ctx, b)) // confirm
			s.state("b", "", "")
		}
		s.boots("b", false)
		s.ok(s.Arm(ctx, a))
		s.ok(s.SetDefault(ctx, b)) // clears the token too
		s.state("b", "", "")
		s.boots("b", false)
	})

	t.Run("remove", func(t *testing.T) {
		s := start(t, fixture(t), "a", "b", "c")
		s.kind(s.Remove(ctx, a), be.InUse)
		s.ok(s.Arm(ctx, b))
		s.kind(s.Remove(ctx, b), be.InUse)
		for range 2 {
			s.ok(s.Remove(ctx, c))
			s.entries("a", "b")
		}
		s.kind(s.Arm(ctx, c), be.NotFound)
		s.state("a", "b", "")
		s.ok(s.SetDefault(ctx, b))
		s.ok(s.Remove(ctx, a))
		s.boots("b", false)
	})

	t.Run("titles", func(t *testing.T) {
		for _, title := range HostileTitles {
			s := start(t, fixture(t), "a", "b")
			e := Entry("b", title)
			s.ok(s.Put(ctx, e))
			s.ok(s.Put(ctx, e))
			s.ok(s.Probe(ctx))
			s.boots("a", false)
			s.ok(s.Arm(ctx, b))
			s.boots("b", true)
			s.boots("a", false)
		}
	})

	t.Run("cuts", func(t *testing.T) { runCuts(t, fixture) })
}

// HostileTitles try to be more than a title.
var HostileTitles = []string{
	"", "'", "''", `\`, `\'`, `"`, "$(reboot)", "`reboot`", "${prefix}", "a'; reboot; echo 'b", "a' { reboot }\nset x='",
	"new\nline", "carriage\rreturn", "nul\x00byte", "escape\x1b[2J", "--users=root", "--source=reboot", "-", "--", "--help",
	ID("a"), ID("b"), "0", "1", "a>b", "{", "}", "fi", "then", "#", ";", "&&", "|", "\xff\xfe", "\u202eabc", "\u2028", "日本語",
	string(make([]byte, 3000)), "%s%n", "' --id 'baaaaaaaaaaaa", "'\n}\nmenuentry 'x' {\nreboot\n}\n'",
}

var errCut = errors.New("power cut")

// An operation that can be cut, with what may boot after the cut and what
// must boot once it was done again.
type operation struct {
	name    string
	prepare func(s suite) error // after a is installed as default, with b and c
	do      func(l boot.Loader) error
	old     Played
	new     Played
}

func operations() []operation {
	ctx := context.Background()
	a, b := Played{ID: ID("a")}, Played{ID: ID("b")}
	trialB, trialC := Played{ID("b"), true}, Played{ID("c"), true}
	none := func(suite) error { return nil }
	return []operation{
		{"put new", none, func(l boot.Loader) error { return l.Put(ctx, Entry("d", "D")) }, a, a},
		{"put changed default", none, func(l boot.Loader) error { return l.Put(ctx, Entry("a", "other title")) }, a, a},
		{"put changed trial", func(s suite) error { return s.Arm(ctx, ID("b")) },
			func(l boot.Loader) error { return l.Put(ctx, Entry("b", "other title")) }, trialB, trialB},
		{"arm", none, func(l boot.Loader) error { return l.Arm(ctx, ID("b")) }, a, trialB},
		{"arm another", func(s suite) error { return s.Arm(ctx, ID("c")) },
			func(l boot.Loader) error { return l.Arm(ctx, ID("b")) }, trialC, trialB},
		{"disarm", func(s suite) error { return s.Arm(ctx, ID("b")) },
			func(l boot.Loader) error { return l.Disarm(ctx) }, trialB, a},
		{"set default", none, func(l boot.Loader) error { return l.SetDefault(ctx, ID("b")) }, a, b},
		{"confirm", func(s suite) error {
			if err := s.Arm(ctx, ID("b")); err != nil {
				return err
			}
			_, err := s.fix.Play()
			return err
		}, func(l boot.Loader) error { return l.SetDefault(ctx, ID("b")) }, a, b},
		{"clear tried", func(s suite) error {
			if err := s.Arm(ctx, ID("b")); err != nil {
				return err
			}
			_, err := s.fix.Play()
			return err
		}, func(l boot.Loader) error { return l.ClearTried(ctx) }, a, a},
		{"remove", none, func(l boot.Loader) error { return l.Remove(ctx, ID("c")) }, a, a},
		{"remove the default before", func(s suite) error { return s.SetDefault(ctx, ID("b")) },
			func(l boot.Loader) error { return l.Remove(ctx, ID("a")) }, b, b},
		{"install again", none, func(l boot.Loader) error { return l.Install(ctx, Entry("a", "A")) }, a, a},
	}
}

// runCuts stops every operation before and after each of its effects, for
// all of them; what boots then is what booted before or what boots after it;
// and repeating the operation completes it.
func runCuts(t *testing.T, fixture func(t *testing.T) Fixture) {
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			for _, boots := range []bool{true, false} { // the loader runs after the cut, or the operation is just repeated
				for n := 0; ; n++ {
					if !cutAt(t, fixture(t), op, n, boots) {
						if n == 0 {
							t.Fatal("it has no effects")
						}
						break
					}
				}
			}
		})
	}
}

// cutAt reports whether there was an nth step to cut at.
func cutAt(t *testing.T, fix Fixture, op operation, n int, boots bool) bool {
	t.Helper()
	s := start(t, fix, "a", "b", "c")
	s.ok(op.prepare(s))
	at, count := "", 0
	err := op.do(fix.Loader(func(effect string) error {
		if count++; count == n+1 {
			at = effect
			return errCut
		}
		if count > n+1 {
			return fmt.Errorf("%s: the machine is off since the cut", effect)
		}
		return nil
	}))
	where := fmt.Sprintf("cut %d, %s", n, at)
	if count <= n {
		if err != nil {
			t.Fatalf("without a cut: %v", err)
		}
		s.plays(op.new, "without a cut")
		return false
	}
	if !errors.Is(err, errCut) {
		t.Errorf("%s: the error does not say so: %v", where, err)
	}
	if boots {
		got, err := fix.Play()
		if err != nil || got != op.old && got != op.new {
			t.Errorf("%s: boots %+v %v, want %+v or %+v", where, got, err, op.old, op.new)
		}
	}
	if err := op.do(fix.Loader(nil)); err != nil {
		t.Errorf("%s: repeating it: %v", where, err)
		return true
	}
	if boots && op.new.Trial && op.name != "arm" && op.name != "arm another" {
		return true // the trial was played already
	}
	s.plays(op.new, where+", repeated")
	s.ok(s.Probe(context.Background()))
	return true
}

func (s suite) plays(want Played, where string) {
	s.t.Helper()
	if got, err := s.fix.Play(); err != nil || got != want {
		s.t.Errorf("%s: boots %+v %v, want %+v", where, got, err, want)
	}
}
