// Package reconcile carries the files on the synclist from the boot
// environments that ran into the one that is to run (synclist(5)).
//
// An Archive records what each boot environment was like when it last was in
// step (its base), what it changed while it ran (its runs: start and end),
// and which of that the others have had (marks). At a switch the parts of all
// runs that the incoming one lacks are composed into one change, decided once
// by the table of package decide, and applied. So A → B → C → A loses
// nothing, and what packages changed in a boot environment that did not run
// is never taken for the administrator's.
package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/be/state"
	"beadm/sync/manifest"
	"beadm/sync/synclist"
)

// Archive is the sync state of one store. One process uses it at a time: the
// caller holds the state's lock.
type Archive struct {
	dir   string
	store *manifest.Store

	// Shared are the directories of the shared dataset as paths inside a boot
	// environment; what resolves into them is never carried.
	Shared []string
	// Most bounds what is read of a boot environment; nothing does if it is
	// zero.
	Most manifest.Most
	// GOOS chooses the built-in list.
	GOOS string

	pwdMkdb string // FreeBSD's program

	// cut, in tests, is asked before each effect and stops it by an error.
	cut func(effect string) error
}

// Open opens the archive in dir, which it makes if absent.
func Open(dir string) (*Archive, error) {
	store, err := manifest.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	return &Archive{dir: dir, store: store, Shared: []string{"/var/share"}, GOOS: runtime.GOOS, pwdMkdb: "/usr/sbin/pwd_mkdb"}, nil
}

// indexVersion is the format of index.json that is written; the one before is
// read.
const indexVersion = 1

// index is what the archive knows beside manifests and blobs: index.json.
// Every change of it is one atomic write, the commit of an operation.
type index struct {
	Version int                `json:"version"`
	BEs     map[be.UUID]*known `json:"bes"`
	Runs    []*run             `json:"runs"` // in the order they began
	// Lost names the damaged index that this one replaces.
	Lost string `json:"lost,omitempty"`

	unknown map[string]json.RawMessage
}

// known is one boot environment.
type known struct {
	Base      manifest.ID    `json:"base,omitempty"`
	Had       map[string]had `json:"had,omitempty"` // by run
	Pending   *pending       `json:"pending,omitempty"`
	Conflicts []OpenConflict `json:"conflicts,omitempty"` // by path; of the switches into it
	// As the template was that it, or what it was cloned from, was made from.
	Template manifest.ID `json:"template,omitempty"`
	Fresh    bool        `json:"fresh,omitempty"` // it has had nothing since
}

// had says how much of a run a boot environment has had; a missing one is
// nothing, anything else than these the manifest that is its mark.
type had string

const (
	hadAll      had = "end"
	hadSecurity had = "security" // of a failed run
)

func (h had) mark() (manifest.ID, bool) {
	return manifest.ID(h), h != "" && h != hadAll && h != hadSecurity
}

// run is from the moment services could start in a boot environment to when
// another one found that it does not run any more.
type run struct {
	ID     string      `json:"id"`
	BE     be.UUID     `json:"be"`
	Start  manifest.ID `json:"start"`
	End    manifest.ID `json:"end,omitempty"` // empty while it lasts
	Failed bool        `json:"failed,omitempty"`
	Began  time.Time   `json:"began,omitzero"`
	Ended  time.Time   `json:"ended,omitzero"`
}

// path finds what is pending for a path.
func (p *pending) path(path string) *moved {
	if p == nil {
		return nil
	}
	i := slices.IndexFunc(p.Paths, func(m *moved) bool { return string(m.Path) == path })
	if i < 0 {
		return nil
	}
	return p.Paths[i]
}

// pending is what an apply is about to put in place, written before the first
// name changes. If the apply is cut, the next one knows its own work by it.
type pending struct {
	Upto  manifest.ID `json:"upto,omitempty"` // the mark it goes to
	Paths []*moved    `json:"paths"`          // no map: encoding/json does not escape a string's keys
}

// moved is one path of an apply.
type moved struct {
	Path     manifest.Text   `json:"path"`
	After    *manifest.Entry `json:"after"`    // as it will be; nil: gone
	Base     *manifest.Entry `json:"base"`     // its base then
	Consumed *manifest.Entry `json:"consumed"` // outgoing's, up to which it has had it then
}

func (a *Archive) indexPath() string { return filepath.Join(a.dir, "index.json") }

func (a *Archive) load() (*index, error) {
	x := &index{Version: indexVersion, BEs: map[be.UUID]*known{}}
	data, err := os.ReadFile(a.indexPath())
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the sync state: %w", err)
	}
	if err := json.Unmarshal(data, x); x.Version > indexVersion {
		return nil, be.E(be.Other, "the sync state %s has format %d, written by a newer beadm; this one reads up to %d",
			a.indexPath(), x.Version, indexVersion)
	} else if state.Damaged(err) {
		// As if there were no base: the outgoing side's files come along, and
		// the incoming side's are kept beside them.
		lost, err := state.SetAside(a.indexPath())
		if err != nil {
			return nil, err
		}
		x := &index{Version: indexVersion, BEs: map[be.UUID]*known{}, Lost: lost}
		return x, a.save(x) // at once: who comes next must be told, too
	} else if err != nil {
		return nil, fmt.Errorf("cannot read the sync state %s: %w", a.indexPath(), err)
	}
	if err := json.Unmarshal(data, &x.unknown); err != nil {
		return nil, fmt.Errorf("cannot read the sync state %s: %w", a.indexPath(), err)
	}
	if x.BEs == nil {
		x.BEs = map[be.UUID]*known{}
	}
	return x, nil
}

// save writes the index durably, and before it the contents it names. Keys that a newer version wrote are kept.
func (a *Archive) save(x *index) error {
	if err := a.effect("index"); err != nil {
		return err
	}
	if err := a.store.Flush(); err != nil {
		return err
	}
	x.Version = indexVersion
	data, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("cannot write the sync state: %w", err)
	}
	all := map[string]json.RawMessage{}
	for k, v := range x.unknown {
		all[k] = v
	}
	var ours map[string]json.RawMessage
	if err := json.Unmarshal(data, &ours); err != nil {
		return fmt.Errorf("cannot write the sync state: %w", err)
	}
	for k, v := range ours {
		all[k] = v
	}
	data, err = json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("cannot write the sync state: %w", err)
	}
	return state.WriteFile(a.indexPath(), append(data, '\n'))
}

// effect is called before each thing that changes a disk.
func (a *Archive) effect(what string) error {
	if a.cut == nil {
		return nil
	}
	return a.cut(what)
}

func (x *index) know(uuid be.UUID) *known {
	k := x.BEs[uuid]
	if k == nil {
		k = &known{}
		x.BEs[uuid] = k
	}
	if k.Had == nil {
		k.Had = map[string]had{}
	}
	return k
}

// present is the run of a boot environment whose end was not recorded.
func (x *index) present(uuid be.UUID) *run {
	for _, r := range slices.Backward(x.Runs) {
		if r.BE == uuid && r.End == "" {
			return r
		}
	}
	return nil
}

// marks are the manifests that were read in the course of a run, its start
// first.
func (a *Archive) marks(x *index, r *run) ([]*manifest.Manifest, error) {
	ids := []manifest.ID{r.Start}
	for _, k := range x.BEs {
		if id, ok := k.Had[r.ID].mark(); ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		if k.Pending != nil && k.Pending.Upto != "" && !slices.Contains(ids, k.Pending.Upto) {
			ids = append(ids, k.Pending.Upto)
		}
	}
	if id := x.know(r.BE).Template; id != "" && !slices.Contains(ids, id) {
		ids = append(ids, id)
	}
	var list []*manifest.Manifest
	for _, id := range ids {
		m, err := a.store.Load(id)
		if manifest.Lost(err) {
			continue // parts says so
		}
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// take reads a manifest. A list that cannot be read must not keep locks and
// removals from being carried: the last one that could be, or the built-in,
// is in force then, and said.
//
// Earlier may be nil; see manifest.Taker.
func (a *Archive) take(ctx context.Context, store *manifest.Store, from Snapshot, uuid be.UUID, earlier *manifest.Manifest, since ...*manifest.Manifest) (*manifest.Manifest, error) {
	root, err := rooted.Open(from.Root)
	if err != nil {
		return nil, fmt.Errorf("cannot read a boot environment: %w", err)
	}
	defer root.Close()
	list, listErr := synclist.Load(root, a.GOOS)
	if listErr != nil {
		list = synclist.Builtin(a.GOOS)
		if len(since) > 0 {
			list = since[len(since)-1].List
		}
	}
	t := manifest.Taker{Store: store, Shared: a.Shared, Earlier: earlier, AsOf: from.AsOf, Most: a.Most}
	m, err := t.Take(ctx, root, uuid, list, since...)
	if err == nil && listErr != nil {
		m.Note = listErr.Error()
	}
	return m, err
}
