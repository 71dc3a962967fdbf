package reconcile

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/sync/decide"
	"beadm/sync/manifest"
)

// Upto says how far the run of the outgoing boot environment is carried.
type Upto int

const (
	// EndOfRun: it does not run any more, EndRun was called.
	EndOfRun Upto = iota
	// Mark: it runs; Switch.FromRoot is a snapshot of it, which becomes the
	// incoming's mark on that run.
	Mark
	// Live: it runs, and FromRoot is its live tree, for stores without
	// snapshots. No mark is set, and nothing is appended: that would be done
	// a second time at the end of the run.
	Live
)

// Mode says how much is carried.
type Mode int

const (
	// Full is everything; of failed runs what takes rights away.
	Full Mode = iota
	// SecurityOnly is what takes rights away, for a return after a failed
	// trial. Runs that did not fail are not marked as delivered.
	SecurityOnly
	// Aside is Full, and the failed runs of Switch.From in full.
	Aside
)

// Switch is what Reconcile is asked for.
type Switch struct {
	From, To be.UUID // outgoing, incoming
	FromRoot string  // for EndOfRun read only where the record of its end is lost
	// AsOf is for Mark a moment before that snapshot was made, zero if it is not
	// known: files that nobody touched since they were read last are not read
	// again then.
	AsOf   time.Time
	ToRoot string // written to
	Upto   Upto
	Mode   Mode
	DryRun bool // only report
	Strict bool // a conflict is an error of kind be.Decision, and nothing is done
}

// Reconcile carries into To what it lacks of what the others changed while
// they ran. When it returns nil that is durable, and doing it again changes
// nothing. When it fails, or is cut at any point, To has had nothing of it:
// do it again. The report is filled as far as the plan came.
func (a *Archive) Reconcile(ctx context.Context, sw Switch) (Report, error) {
	report := Report{From: sw.From, To: sw.To, DryRun: sw.DryRun, Items: []Item{}}
	if sw.From == sw.To {
		return report, fmt.Errorf("cannot reconcile %s with itself", sw.To)
	}
	store, scratch := a.store, a.dir
	if sw.DryRun {
		// What would be stored goes where it is thrown away again.
		dir, err := os.MkdirTemp("", "beadm-plan-*")
		if err != nil {
			return report, fmt.Errorf("cannot plan the sync: %w", err)
		}
		defer os.RemoveAll(dir)
		scratch = dir
		if store, err = a.store.Scratch(dir); err != nil {
			return report, err
		}
	}
	x, err := a.load()
	if err != nil {
		return report, err
	}
	now, newest, err := a.outgoing(ctx, store, x, sw)
	if err != nil {
		return report, err
	}
	root, err := rooted.Open(sw.ToRoot)
	if err != nil {
		return report, fmt.Errorf("cannot reconcile: %w", err)
	}
	defer root.Close()

	p := &planner{
		ctx: ctx, store: store, sw: sw, to: x.know(sw.To), root: root, newest: newest,
		taker: manifest.Taker{Store: store, Shared: a.Shared, Most: a.Most}, moved: map[manifest.Text]*moved{},
		goos: a.GOOS, pwdMkdb: a.pwdMkdb, scratch: scratch,
		seen:    map[string]*manifest.Entry{},
		temps:   map[string]string{},
		carried: map[manifest.Text]decide.Path{}, settled: map[manifest.Text]bool{}, still: map[manifest.Text]stillOpen{},
		blockedBy: map[string]string{}, real: map[string]string{}, made: map[string]bool{},
	}
	if p.parts, report.Notes, err = a.parts(x, sw, now, newest); err != nil {
		return report, err
	}
	parts, base, note, err := a.sinceTemplate(x, sw, newest)
	if err != nil {
		return report, err
	}
	if note != "" {
		report.Notes = append(report.Notes, note)
	}
	if base != nil {
		p.parts, p.base, p.template, report.Notes = parts, base, true, nil
	}
	for _, r := range slices.Backward(x.Runs) {
		if r.BE == sw.From {
			p.aside = r.Failed && sw.Mode != Aside || sw.Mode == SecurityOnly
			break
		}
	}
	id := p.to.Base
	if r := x.present(sw.To); id == "" && r != nil {
		id = r.Start // its first run lasts: nothing older is known of it
	}
	if id != "" {
		if p.base, err = store.Load(id); err != nil && !manifest.Lost(err) {
			return report, err
		}
	}
	if p.base == nil && !p.aside {
		note := "what the two had in common is not known"
		if err != nil {
			note += fmt.Sprintf(" (%v)", err)
		}
		if x.Lost != "" {
			note += "; the records were damaged and are kept as " + x.Lost
		}
		report.Notes = append(report.Notes, note+": where they differ the files of the one that ran last are taken, and those here are kept beside them; account files are united")
	}
	if newest.Note != "" {
		report.Notes = append(report.Notes, newest.Note)
	}
	err = p.plan()
	report.Items = append(report.Items, p.items...)
	report.Notes = append(report.Notes, p.notes...)
	sortItems(report.Items)
	if err != nil {
		return report, fmt.Errorf("cannot reconcile: %w", err)
	}
	if c := p.openThen(); sw.Strict && len(c) > 0 {
		return report, be.E(be.Decision, "%d files changed on both sides, %s first: make them alike, or go on without --strict and decide with beadm sync resolve",
			len(c), rooted.Printable(string(c[0].Path)))
	}
	if sw.DryRun {
		return report, nil
	}
	err = a.apply(x, p, now)
	report.Items = append([]Item{}, p.items...)
	sortItems(report.Items)
	if err != nil {
		return report, fmt.Errorf("cannot reconcile: %w", err)
	}
	return report, nil
}

// outgoing returns the state up to which From's lasting run is carried, nil
// for EndOfRun, and the last known state of From.
func (a *Archive) outgoing(ctx context.Context, store *manifest.Store, x *index, sw Switch) (now, newest *manifest.Manifest, err error) {
	if sw.Upto == EndOfRun {
		if x.present(sw.From) != nil {
			return nil, nil, fmt.Errorf("cannot reconcile: the end of the run of %s was not recorded", sw.From)
		}
		id := x.know(sw.From).Base
		for _, r := range slices.Backward(x.Runs) {
			if r.BE == sw.From {
				id = r.End
				break
			}
		}
		if id != "" {
			newest, err = store.Load(id)
		}
		if (id == "" || manifest.Lost(err)) && sw.FromRoot != "" {
			newest, err = a.take(ctx, store, Snapshot{Root: sw.FromRoot}, sw.From, nil) // what it came to stands there
		}
		if newest == nil && err == nil {
			err = fmt.Errorf("cannot reconcile: nothing is known of %s", sw.From)
		}
		return nil, newest, err
	}
	var since []*manifest.Manifest
	if r := x.present(sw.From); r != nil {
		if since, err = a.marks(x, r); err != nil {
			return nil, nil, err
		}
	}
	from := Snapshot{sw.FromRoot, sw.AsOf}
	if sw.Upto == Live {
		from.AsOf = time.Now()
	}
	now, err = a.take(ctx, store, from, sw.From, nil, since...)
	return now, now, err
}

func sortItems(items []Item) {
	slices.SortStableFunc(items, func(a, b Item) int {
		switch {
		case a.Path < b.Path:
			return -1
		case a.Path > b.Path:
			return 1
		}
		return 0
	})
}
