package activate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/left"
	"beadm/be"
	"beadm/be/state"
)

// upgraded is a store whose pool has come to need what the loader does not
// know.
type upgraded struct {
	be.Store
	all []be.BE
}

func (s upgraded) List(context.Context) ([]be.BE, error) { return s.all, nil }
func (s upgraded) Flush(context.Context) error           { return nil }
func (s upgraded) RootRef(_ context.Context, name string) (be.RootRef, error) {
	return be.RootRef{FS: "zfs", Label: name, Needs: []string{"zstd_compress"}}, nil
}

// shortOfRoom is a loader that has the kernels of some, and room for some.
type shortOfRoom struct {
	boot.Loader
	entries, has, room []string
	damaged, put       []string
}

func (l *shortOfRoom) Entries(context.Context) ([]string, error) { return l.entries, nil }
func (l *shortOfRoom) State(context.Context) (boot.State, error) { return boot.State{}, nil }
func (l *shortOfRoom) Arm(context.Context, string) error         { return nil }
func (l *shortOfRoom) SetDefault(context.Context, string) error  { return nil }
func (l *shortOfRoom) Put(_ context.Context, e boot.Entry) error {
	if !slices.Contains(l.room, e.ID) {
		return be.E(be.Unbootable, "no room for %s", e.Title)
	}
	l.has, l.put = append(l.has, e.ID), append(l.put, e.ID)
	return nil
}
func (l *shortOfRoom) CheckEntry(_ context.Context, id string, root be.RootRef) error {
	if !slices.Contains(l.entries, id) {
		return be.E(be.NotFound, "no entry for %s", id)
	}
	if !slices.Contains(l.has, id) {
		return be.E(be.Unbootable, "the pool has %s", root.Needs)
	}
	return nil
}

func (l *shortOfRoom) CheckEntryWhole(ctx context.Context, id string, root be.RootRef) error {
	if slices.Contains(l.damaged, id) && !slices.Contains(l.put, id) {
		return be.E(be.Unbootable, "the kernel of %s is damaged", id)
	}
	return l.CheckEntry(ctx, id, root)
}

type heard struct{ warnings []string }

func (*heard) Step(string)         {}
func (*heard) Would(string)        {}
func (*heard) Note(string, ...any) {}
func (h *heard) Warn(format string, args ...any) {
	h.warnings = append(h.warnings, fmt.Sprintf(format, args...))
}
func (*heard) Left(string, string, []left.Place) {}

func uuidOf(digit string) be.UUID { return be.UUID(strings.Repeat(digit, 32)) }

func menuOf(t *testing.T, l *shortOfRoom) (*Session, *heard) {
	t.Helper()
	dir := t.TempDir()
	var all []be.BE
	for i, name := range []string{"debian", "new", "older", "bare"} {
		all = append(all, be.BE{Name: name, UUID: uuidOf(fmt.Sprint(i + 1)), Mountpoint: dir})
	}
	h := &heard{}
	l.entries = []string{uuidOf("1").ID(), uuidOf("2").ID(), uuidOf("3").ID()}
	return &Session{Target: &Target{Store: upgraded{all: all}, Root: dir, Runtime: dir, Report: h}, Loader: l,
		State: &state.State{Default: uuidOf("1"), Loader: state.LoaderConfig{Kind: "stub"}}}, h
}

// TestTheWayBackIsMended: before a trial all that the loader can no longer
// start is written anew. Without the way back there is no trial; of the others
// it is said.
func TestTheWayBackIsMended(t *testing.T) {
	one, two, three := uuidOf("1").ID(), uuidOf("2").ID(), uuidOf("3").ID()
	for _, c := range []struct {
		name     string
		room     []string
		fails    bool
		warnings int
	}{
		{"room for all", []string{one, two, three}, false, 0},
		{"none for another", []string{one, two}, false, 1},
		{"none for the way back", []string{two, three}, true, 0},
	} {
		l := &shortOfRoom{has: []string{two}, room: c.room}
		s, h := menuOf(t, l)
		list, err := s.stale(t.Context())
		if err != nil || len(list) != 2 || list[0].Name != "debian" || list[1].Name != "older" {
			t.Fatalf("stale are %+v %v", list, err)
		}
		if why := s.unstartable(t.Context()); len(why) != 1 || !strings.Contains(why[0], "zstd_compress") {
			t.Errorf("status says %q", why)
		}
		err = s.mendStale(t.Context(), activateArgs{UUID: uuidOf("2"), Default: uuidOf("1"), Stale: []be.UUID{list[0].UUID, list[1].UUID, uuidOf("9")}})
		if (err != nil) != c.fails || c.fails && be.KindOf(err) != be.Unbootable || len(h.warnings) != c.warnings {
			t.Errorf("%s: %v, %q", c.name, err, h.warnings)
		}
		if !c.fails && len(s.unstartable(t.Context())) != 0 {
			t.Errorf("%s: status says %q", c.name, s.unstartable(t.Context()))
		}
	}
	// One that is made the default at once needs no way back.
	l := &shortOfRoom{has: []string{two}, room: []string{two}}
	s, h := menuOf(t, l)
	if err := s.mendStale(t.Context(), activateArgs{UUID: uuidOf("2"), Default: uuidOf("1"), Permanent: true, Stale: []be.UUID{uuidOf("1")}}); err != nil || len(h.warnings) != 1 {
		t.Errorf("permanent: %v, %q", err, h.warnings)
	}
}

func TestMendEntries(t *testing.T) {
	l := &shortOfRoom{room: []string{uuidOf("1").ID(), uuidOf("2").ID()}}
	s, h := menuOf(t, l)
	if got := s.mendEntries(t.Context()); !slices.Equal(got, []string{"debian", "new"}) || len(h.warnings) != 1 || !strings.Contains(h.warnings[0], "no room for older") {
		t.Errorf("mended %q, warned %q", got, h.warnings)
	}
}

// TestADamagedDefaultIsMended: the kernel of what a trial comes back to is read
// whole, and brought again; those of others are not read, nor is any for status.
func TestADamagedDefaultIsMended(t *testing.T) {
	one, two, three := uuidOf("1").ID(), uuidOf("2").ID(), uuidOf("3").ID()
	l := &shortOfRoom{has: []string{one, two, three}, damaged: []string{one, three}, room: []string{one, three}}
	s, h := menuOf(t, l)
	if why := s.unstartable(t.Context()); len(why) != 0 {
		t.Errorf("status has read a kernel: %q", why)
	}
	if got := s.mendEntries(t.Context()); !slices.Equal(got, []string{"debian"}) || len(h.warnings) != 0 {
		t.Errorf("mended %q, warned %q", got, h.warnings)
	}
	if list, err := s.stale(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("stale are %+v %v", list, err)
	}
}

// Fits implements boot.Fitter.
func (l *shortOfRoom) Fits(_ context.Context, e boot.Entry) error {
	if !slices.Contains(l.room, e.ID) {
		return be.E(be.Unbootable, "no room for %s", e.Title)
	}
	return nil
}

// TestFitsIsAsked: what a session's loader is wrapped in keeps nobody from
// hearing that there is no room.
func TestFitsIsAsked(t *testing.T) {
	e := boot.Entry{ID: uuidOf("1").ID(), Title: "new"}
	var l boot.Loader = committedLoader{&shortOfRoom{}}
	f, ok := l.(boot.Fitter)
	if !ok {
		t.Fatal("the loader of a session cannot be asked")
	}
	if err := f.Fits(t.Context(), e); err == nil || !strings.Contains(err.Error(), "no room for new") {
		t.Errorf("without room: %v", err)
	}
	l = committedLoader{&shortOfRoom{room: []string{e.ID}}}
	if err := l.(boot.Fitter).Fits(t.Context(), e); err != nil {
		t.Errorf("with room: %v", err)
	}
}
