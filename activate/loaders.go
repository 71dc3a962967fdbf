package activate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"beadm/activate/boot"
	"beadm/activate/boot/mirror"
	"beadm/be"
	"beadm/be/state"
)

// loaderPlaces are those of conf where there are several, else nil.
func (s *Session) loaderPlaces(conf state.LoaderConfig) []state.LoaderPlace {
	l := s.State.Loaders
	if l == nil || len(l.Places) < 2 {
		return nil
	}
	// A beadm that knows of one place only may have set up another since.
	if first := l.Places[0]; first.FSUUID != conf.FSUUID || first.Dir != conf.Dir {
		return nil
	}
	return l.Places
}

// openLoader opens the loader at each of its places. One that is not there is
// no error as long as another is.
func (s *Session) openLoader(ctx context.Context, conf state.LoaderConfig) (boot.Loader, error) {
	places := s.loaderPlaces(conf)
	if places == nil {
		l, err := s.openPlace(ctx, conf, s.path("loader"))
		if err != nil {
			return nil, err
		}
		return committedLoader{l}, nil
	}
	cfg := mirror.Config{Primary: s.State.Loaders.Primary, SharedToken: conf.Kind == "systemd-boot", Trouble: s.mirrorTrouble}
	for i, p := range places {
		m := mirror.Member{Name: p.Name(), Started: boot.LoadedFrom(s.Cmdline) == p.Name()}
		l, err := s.openPlace(ctx, conf.At(p), s.path(fmt.Sprintf("loader%d", i)))
		switch c, ok := l.(mirror.Copy); {
		case err != nil:
			m.Away = err
		case !ok:
			m.Away = be.E(be.NoStore, "the loader %s cannot be on several disks", conf.Kind)
		default:
			m.Copy = c
		}
		if l, ok := l.(interface{ Started() bool }); ok && err == nil {
			m.Started = l.Started()
		}
		cfg.Members = append(cfg.Members, m)
	}
	l, err := mirror.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s.openedAs = cfg.Primary
	return committedLoader{l}, nil
}

func (s *Session) openPlace(ctx context.Context, conf state.LoaderConfig, dir string) (boot.Loader, error) {
	if err := s.private(dir); err != nil {
		return nil, err
	}
	if err := s.holdMounts(ctx); err != nil {
		return nil, err
	}
	if err := s.hold.begin(ctx); err != nil {
		return nil, err
	}
	defer s.hold.end()
	s.undo = append(s.undo, func() { s.Store.UnmountDir(context.WithoutCancel(ctx), dir) })
	return s.OpenLoader(ctx, conf, dir)
}

// mirrorTrouble says once what could not be done on one of several loaders: no
// disk that fails keeps the others from their work.
func (s *Session) mirrorTrouble(name string, err error) error {
	if text := name + err.Error(); !slices.Contains(s.saidOfMirrors, text) {
		s.saidOfMirrors = append(s.saidOfMirrors, text)
		s.Report.Warn("the loader on %s is not as the other: %v", name, err)
	}
	s.mirrorsTrouble = errors.Join(s.mirrorsTrouble, fmt.Errorf("the loader on %s: %w", name, err))
	return nil
}

// mirrored is the loader if it is on several disks, else nil.
func (s *Session) mirrored() *mirror.Loader {
	c, _ := s.Loader.(committedLoader)
	m, _ := c.Loader.(*mirror.Loader)
	return m
}

// keepPrimary notes which loader is asked from now on, durably and before
// anything is changed: the one that was and is away may come back with an old
// default or an old token, and must not be believed then.
func (s *Session) keepPrimary() error {
	m := s.mirrored()
	if m == nil || s.State.Loaders == nil {
		return nil
	}
	if now := s.State.Loaders.Primary; now != s.openedAs {
		m.Use(now) // another beadm changed it before we had the lock
	}
	if s.dryRun {
		return nil
	}
	if moved := s.State.Loaders.Primary != "" && s.State.Loaders.Primary != m.Primary(); moved && s.tokenIsOurs() {
		// The token of the trial that is armed was on the other one. Before this
		// one is noted: a cut between the two has it done again.
		ctx := context.Background()
		if err := errors.Join(m.Disarm(ctx), m.ClearTried(ctx)); err != nil {
			s.Report.Warn("%v", err)
		}
	}
	return s.setPrimary(m.Primary())
}

// tokenIsOurs: the loader is on several disks, and nobody but us writes its
// token. systemd-boot's is the firmware's, and any program's to set.
func (s *Session) tokenIsOurs() bool {
	return s.mirrored() != nil && s.State.Loader.Kind != "systemd-boot"
}

// dropStray takes back a token that is not of the trial that the state knows:
// it came with a disk that was away, and nobody would watch what it starts.
// What was interrupted is recovered before, or a token that is awaited would
// look like one.
func (s *Session) dropStray(ctx context.Context) {
	if s.dryRun || !s.tokenIsOurs() {
		return
	}
	ls, err := s.Loader.State(ctx)
	if err != nil || ls.Trial == "" || s.State.Trial != nil && s.State.Trial.BE.ID() == ls.Trial {
		return
	}
	if err := s.Loader.Disarm(ctx); err != nil {
		s.Report.Warn("the loader on %s holds the token of an old trial, which cannot be taken back: %v", s.mirrored().Primary(), err)
		return
	}
	s.record("disarm", "", "an old token on "+s.mirrored().Primary())
}

func (s *Session) setPrimary(name string) error {
	was := s.State.Loaders.Primary
	if name == was {
		return nil
	}
	s.State.Loaders.Primary, s.openedAs = name, name
	if err := s.save(); err != nil {
		s.State.Loaders.Primary = was
		return err
	}
	if was != "" {
		s.record("loader", "", "on "+name+" in place of "+was)
	}
	return nil
}

// strayBoot says of a boot that claims to be a trial, and is none, that an old
// token on the loader that is asked started it, and that the next boot is of the
// default. A boot environment that ran last was tried in a boot before, or
// picked: what it claims is perhaps this boot's own, which was a trial -t once.
func (s *Session) strayBoot(ctx context.Context, trial *state.Trial, running be.BE) bool {
	if !s.tokenIsOurs() || trial != nil || s.State.Last == running.UUID {
		return false
	}
	ls, err := s.Loader.State(ctx)
	return err == nil && ls == boot.State{Default: s.State.Default.ID()}
}

// alikeLoaders makes the loaders of several disks alike, and lets the one that
// this machine was started from, and will be again, be the one that is armed.
func (s *Session) alikeLoaders(ctx context.Context) {
	m := s.mirrored()
	if m == nil || s.dryRun {
		return
	}
	s.dropStray(ctx)
	if err := m.Mend(ctx); err != nil {
		return // the primary's own: whoever asks it hears
	}
	ls, err := m.State(ctx)
	if err != nil || ls.Trial != "" || ls.Tried != "" || s.State.Trial != nil {
		return
	}
	if next := m.Successor(ctx); next != m.Primary() {
		if err := s.setPrimary(next); err != nil {
			s.Report.Warn("%v", err)
			return
		}
		m.Use(next)
	}
}

// startedFromOther names the loader that this machine was started from, if
// that is not the one that is asked.
func (s *Session) startedFromOther() string {
	if from := boot.LoadedFrom(s.Cmdline); s.mirrored() != nil && from != "" && from != s.mirrored().Primary() {
		return from
	}
	return ""
}

// newPlaces are those of the loader from now on: conf's place first, and those
// of mirrors, or, if that is nil, where it was.
func (s *Session) newPlaces(conf state.LoaderConfig, mirrors []state.LoaderConfig) ([]state.LoaderPlace, error) {
	first := conf.Place()
	list := []state.LoaderPlace{first}
	add := func(p state.LoaderPlace) bool {
		if slices.ContainsFunc(list, func(have state.LoaderPlace) bool { return have.Name() == p.Name() }) {
			return false
		}
		list = append(list, p)
		return true
	}
	old := s.loaderPlaces(s.State.Loader)
	switch {
	case mirrors != nil:
		for _, m := range mirrors {
			if !add(m.Place()) {
				return nil, be.E(be.Usage, "the loader's partition %s is named twice", m.Place().Name())
			}
		}
	case old != nil && s.State.Loader.Kind == conf.Kind:
		if !slices.ContainsFunc(old, func(p state.LoaderPlace) bool { return p.Name() == first.Name() }) {
			old = old[1:] // first takes its place
		}
		for _, p := range old {
			add(p)
		}
	}
	return list, nil
}

// mayMove refuses another loader while one holds the token of a trial: that
// one would start it yet, or nobody. One that cannot be read holds none that
// could be taken back.
func (s *Session) mayMove(ctx context.Context, conf state.LoaderConfig, mirrors []state.LoaderConfig) error {
	tr := s.State.Trial
	if tr == nil || tr.Phase != state.Armed || s.State.Loader.Kind == "" {
		return nil
	}
	list, err := s.newPlaces(conf, mirrors)
	if err != nil {
		return err
	}
	armed := s.State.Loader.Place()
	for _, p := range s.loaderPlaces(s.State.Loader) {
		if p.Name() == s.State.Loaders.Primary {
			armed = p
		}
	}
	if conf.Kind == s.State.Loader.Kind && slices.ContainsFunc(list, func(p state.LoaderPlace) bool { return p.Dir == armed.Dir && p.FSUUID == armed.FSUUID }) {
		return nil
	}
	l, err := s.openLoader(ctx, s.State.Loader)
	if err != nil {
		return nil
	}
	if ls, err := l.State(ctx); err != nil || ls.Trial != tr.BE.ID() {
		return nil
	}
	return be.E(be.InUse, "cannot set up another loader while a trial of %s is armed: take it back with beadm activate -T first", s.nameOf(ctx, tr.BE))
}

// placeLoaders sets where the loader is from now on.
func (s *Session) placeLoaders(conf state.LoaderConfig, mirrors []state.LoaderConfig) error {
	list, err := s.newPlaces(conf, mirrors)
	if err != nil {
		return err
	}
	if len(list) == 1 {
		s.State.Loaders = nil
		return nil
	}
	primary := ""
	if l := s.State.Loaders; l != nil && slices.ContainsFunc(list, func(p state.LoaderPlace) bool { return p.Name() == l.Primary }) {
		primary = l.Primary
	}
	s.State.Loaders = &state.Loaders{Places: list, Primary: primary}
	for i, p := range list {
		for _, q := range list[i+1:] {
			if p.FSUUID != "" && p.FSUUID == q.FSUUID {
				s.Report.Warn("the loader's partitions %s and %s have the same file system UUID %s, by which GRUB may find the wrong one: give one another (mlabel -n, tune2fs -U)", p.Name(), q.Name(), p.FSUUID)
			}
		}
	}
	return nil
}

// LoaderStatus is one of the places of a loader that is on several disks.
type LoaderStatus struct {
	Place   string `json:"place"`
	Asked   bool   `json:"asked"` // what it says is true, and it is armed
	Started bool   `json:"started"`
	Missing bool   `json:"missing"`
	Trouble string `json:"trouble,omitempty"`
}

// loaders says how each is, if there are several.
func (s *Session) loaders(ctx context.Context) []LoaderStatus {
	m := s.mirrored()
	if m == nil {
		return nil
	}
	var list []LoaderStatus
	for _, h := range m.Health(ctx) {
		l := LoaderStatus{Place: h.Name, Asked: h.Primary, Started: h.Started, Missing: h.Away}
		if h.Trouble != nil {
			l.Trouble = h.Trouble.Error()
		}
		list = append(list, l)
	}
	return list
}
