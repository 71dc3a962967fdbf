// Package state is what beadm remembers about one target between boots: the
// state machine, what ran, what was tried and how it ended. It lives in a
// folder of the state file system, in no boot environment.
//
//	identity        who this host is to beadm: a UUID, made by setup
//	lock            flock by the one writer, who writes its pid and command in it
//	state.json      State, below
//	journal.json    the open operation (package journal)
//	history.jsonl   one Event a line, only ever appended to
//	sync/           runs, bases and marks (package reconcile in sync)
//	share.json      the open relocation (package share)
//
// Files are written whole and durably; a reader sees the old one or the new.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"beadm/be"
)

// Version is the format this program writes. It reads Version and Version-1.
const Version = 1

// Phase is where an activation stands.
type Phase string

// The phases. No trial at all is idle.
const (
	Armed  Phase = "armed"  // the loader holds the token
	Trying Phase = "trying" // the token was consumed and boot ran in the new BE
)

// Trial is the activation under way.
type Trial struct {
	Activation    string        `json:"activation"` // names its snapshots, too
	BE            be.UUID       `json:"be"`
	From          be.UUID       `json:"from"` // the default it returns to
	Phase         Phase         `json:"phase"`
	Once          bool          `json:"once,omitempty"` // -t: never confirmed
	ArmedAt       time.Time     `json:"armed_at"`
	TryingAt      time.Time     `json:"trying_at,omitzero"`
	NoAutoConfirm bool          `json:"no_auto_confirm,omitempty"`
	ConfirmWithin time.Duration `json:"confirm_within_ns"`    // dead-man timer
	EndsUp        time.Duration `json:"ends_up_ns,omitempty"` // when that ends, since the start of the system: no clock moves it
	Services      bool          `json:"services,omitempty"`   // boot let services start
	Baseline      *Baseline     `json:"baseline,omitempty"`   // what the checks compare with
	LookedAt      time.Time     `json:"looked_at,omitzero"`   // what is left behind was looked for then
	Verdict       *Verdict      `json:"verdict,omitempty"`    // a failure found while trying, before the reset
}

// Baseline is what the outgoing boot environment looked like when healthy.
type Baseline struct {
	FailedUnits  []string `json:"failed_units,omitempty"`
	Restarting   []string `json:"restarting,omitempty"` // services that systemd restarts again and again
	DefaultRoute bool     `json:"default_route"`
	Sshd         bool     `json:"sshd"`
	Share        bool     `json:"share"`
}

// Verdict is why a trial failed.
type Verdict struct {
	Reason string    `json:"reason"` // one of the Reason constants
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
}

// Why a trial failed.
const (
	ReasonNoUserland = "did not reach userland"        // the token was consumed, boot never ran
	ReasonBoot       = "boot failed"                   // boot ran and could not finish
	ReasonCheck      = "check failed"                  // Detail names the check
	ReasonTimer      = "not confirmed in time"         // the dead-man timer ended
	ReasonEmergency  = "emergency mode"                // init gave up
	ReasonReset      = "reset before it was confirmed" // power, panic or a reboot, after services
	ReasonOperator   = "rolled back by operator"
)

// Failure is a trial that ended in the old boot environment.
type Failure struct {
	Activation string  `json:"activation"`
	BE         be.UUID `json:"be"`
	Name       string  `json:"name"` // at that time
	Verdict
	Acknowledged bool `json:"acknowledged,omitempty"`
	Notified     bool `json:"notified,omitempty"` // the notify command of beadm.conf has succeeded
}

// NotTried is a trial that was armed and that the next boot did not start.
type NotTried struct {
	BE   be.UUID   `json:"be,omitempty"` // empty: an older beadm wrote it
	Name string    `json:"name"`         // at that time
	At   time.Time `json:"at"`           // when another was started
	Why  string    `json:"why"`
}

// Known is what is remembered of one boot environment.
type Known struct {
	Name        string       `json:"name"`             // last seen
	Good        bool         `json:"good,omitempty"`   // confirmed at least once
	Pinned      bool         `json:"pinned,omitempty"` // prune leaves it alone
	ConfirmedAt time.Time    `json:"confirmed_at,omitzero"`
	Checks      []CheckState `json:"checks,omitempty"` // of its last trial
	Upgrade     *Upgrade     `json:"upgrade,omitempty"`
	// Template is the GUEST/BE that it was made from, which had nothing of what
	// ran here.
	Template string `json:"template,omitempty"`
	// Switch is the activation that names the snapshot of the shared data made
	// when it was last started after another one; not after a failed trial.
	Switch string `json:"switch,omitempty"`

	// UpTo is the moment up to which it has what the machine wrote: when it was
	// cloned from what ran, or its last run ended. Zero where an older beadm
	// wrote the state: nobody knows, and all of it counts as lacking.
	UpTo    time.Time `json:"up_to,omitzero"`
	RanFrom time.Time `json:"ran_from,omitzero"` // when its last run began, or setup found it running; zero: it never ran
}

// UpToAt is what UpTo was at an earlier moment, of which a snapshot is.
func (k *Known) UpToAt(at time.Time, running bool) time.Time {
	switch {
	case running && !at.Before(k.RanFrom):
		return at
	case !at.Before(k.UpTo):
		return k.UpTo // between two runs
	case !running && !at.Before(k.RanFrom):
		return at
	}
	return time.Time{}
}

// Upgrade is one that began and did not end well, or not yet: what it leaves
// may be half of two systems.
type Upgrade struct {
	Began time.Time `json:"began"`
	Why   string    `json:"why,omitempty"` // how it ended; empty: it was cut off, or still runs
}

// CheckState is the last result of one health check.
type CheckState struct {
	Name   string    `json:"name"`
	OK     bool      `json:"ok"`
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
}

// Owed is what a boot could not finish and a later boot or recover must:
// until then the boot environment From is kept as it is.
type Owed struct {
	From be.UUID   `json:"from"`
	To   be.UUID   `json:"to"`
	Why  string    `json:"why"`
	At   time.Time `json:"at"`
	// SecurityOnly: From's run was a failed trial's, of which only locks and
	// the like are carried over.
	SecurityOnly bool `json:"security_only,omitempty"`
	// Activation is the failed trial's. What a cut boot kept by its name before
	// it carried anything is not made again afterwards.
	Activation string `json:"activation,omitempty"`
}

// Conflict is a file that a switch found changed on both sides.
type Conflict struct {
	Path     string    `json:"path"`
	Reason   string    `json:"reason"`
	Saved    string    `json:"saved,omitempty"` // where the side that did not stay stands
	From     string    `json:"from"`            // the boot environment the switch came from
	At       time.Time `json:"at"`
	Notified bool      `json:"notified,omitempty"`
}

// Trouble is what a boot could not do and went on without.
type Trouble struct {
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

// Left is the data that the last switch left behind unasked: written in the
// outgoing boot environment when nobody could be asked any more.
type Left struct {
	From   string    `json:"from"` // at that time
	At     time.Time `json:"at"`
	Places []string  `json:"places"`
	More   int       `json:"more,omitempty"` // places that are not named
}

// Restore is shared data that a rollback asked to have back at the next boot of
// To, before any service. Another one that boots first ends the request.
type Restore struct {
	To       be.UUID   `json:"to"`
	Snapshot string    `json:"snapshot"`      // of the shared data
	Paths    []string  `json:"paths"`         // in it
	At       time.Time `json:"at"`            // of the request; names what is set aside
	Why      string    `json:"why,omitempty"` // a boot of To could not do it
}

// State is state.json. Keys that this program does not know survive a write.
type State struct {
	Version  int                `json:"version"`
	Default  be.UUID            `json:"default,omitempty"`
	Previous be.UUID            `json:"previous,omitempty"` // the default before the present one
	Last     be.UUID            `json:"last,omitempty"`     // the BE that ran last
	Trial    *Trial             `json:"trial,omitempty"`
	Failures []Failure          `json:"failures,omitempty"` // newest last
	Owed     []Owed             `json:"debts,omitempty"`
	BEs      map[be.UUID]*Known `json:"bes,omitempty"`
	Loader   LoaderConfig       `json:"loader"`
	NotTried *NotTried          `json:"not_tried,omitempty"`
	Trouble  *Trouble           `json:"trouble,omitempty"` // of the last boot
	// Conflicts of switches made at boot, until they are acknowledged.
	Conflicts []Conflict `json:"conflicts,omitempty"`
	Left      *Left      `json:"left,omitempty"`
	// Restore is what a rollback asked for.
	Restore *Restore `json:"share_restore,omitempty"`
	// Separate are the directories that are shared as file systems of their own,
	// and that switches snapshot.
	Separate []Separate `json:"share_separate,omitempty"`
	// Stopped is set while a guest is down for a switch.
	Stopped *Stopped `json:"guest_stopped,omitempty"`
	// Loaders is for several places of the loader. It is a key of its own, which
	// a beadm that knows of one place only keeps as it is.
	Loaders *Loaders `json:"loaders,omitempty"`

	unknown map[string]json.RawMessage
}

// Stopped is a guest that beadm has stopped to switch it, and that is to be
// started again.
type Stopped struct {
	At          time.Time `json:"at"`
	FailedUnits []string  `json:"failed_units,omitempty"` // before that
}

// Separate is a directory that is a file system of its own.
type Separate struct {
	Path   string    `json:"path"`
	Volume be.Volume `json:"volume"`
}

// LoaderConfig says how the target is started.
type LoaderConfig struct {
	Kind   string   `json:"kind,omitempty"`    // "grub", "systemd-boot", "zfsbootmenu", "stub"; empty before setup
	Dir    string   `json:"dir,omitempty"`     // its directory, if it is not on a file system of its own; ZFSBootMenu: POOL/ROOT
	FSUUID string   `json:"fs_uuid,omitempty"` // of the FAT or ext file system that holds its files
	Below  string   `json:"below,omitempty"`   // what that is on, if it is to be started at boot: "md", "lvm VG/LV"
	Token  string   `json:"token,omitempty"`   // what a trial's token is: "env", "bootnext"; empty: what can be consumed
	Args   []string `json:"args,omitempty"`    // kernel arguments for every boot environment
	// Kernels says where GRUB reads them from: "root", "loader", or "auto",
	// which is the same as nothing.
	Kernels string `json:"kernels,omitempty"`

	PartUUID string `json:"-"` // of its partition, where Loaders says it
	OneOf    bool   `json:"-"` // it is one of several: this system need not have been started from it
}

// Loaders are the places of a loader that is on several disks.
type Loaders struct {
	Places []LoaderPlace `json:"places"` // that of LoaderConfig first
	// Primary is the name of the place that is asked what boots, and armed.
	Primary string `json:"primary,omitempty"`
}

// LoaderPlace is one partition, or one directory.
type LoaderPlace struct {
	Dir      string `json:"dir,omitempty"`
	FSUUID   string `json:"fs_uuid,omitempty"`
	PartUUID string `json:"part_uuid,omitempty"` // of a GPT partition
}

// Name is unique among places, unless file systems were copied between disks
// without a GPT.
func (p LoaderPlace) Name() string {
	for _, name := range []string{p.PartUUID, p.FSUUID} {
		if name != "" {
			return name
		}
	}
	return p.Dir
}

// Place is where c is.
func (c LoaderConfig) Place() LoaderPlace { return LoaderPlace{c.Dir, c.FSUUID, c.PartUUID} }

// At is c at one of several places.
func (c LoaderConfig) At(p LoaderPlace) LoaderConfig {
	c.Dir, c.FSUUID, c.PartUUID, c.OneOf = p.Dir, p.FSUUID, p.PartUUID, true
	return c
}

// Know returns the record of uuid, made if there is none.
func (s *State) Know(uuid be.UUID) *Known {
	if s.BEs == nil {
		s.BEs = map[be.UUID]*Known{}
	}
	k := s.BEs[uuid]
	if k == nil {
		k = &Known{}
		s.BEs[uuid] = k
	}
	return k
}

// Word is the state in one word: idle, armed, trying, once or failed.
func (s *State) Word() string {
	switch {
	case s.Trial != nil && s.Trial.Once:
		return "once"
	case s.Trial != nil:
		return string(s.Trial.Phase)
	case s.UnreadFailure() != nil:
		return "failed"
	}
	return "idle"
}

// UnreadFailure is the newest failure that nobody has acknowledged, or nil.
func (s *State) UnreadFailure() *Failure {
	for i := len(s.Failures) - 1; i >= 0; i-- {
		if !s.Failures[i].Acknowledged {
			return &s.Failures[i]
		}
	}
	return nil
}

// AddConflicts keeps the newest conflict of each path.
func (s *State) AddConflicts(list []Conflict) {
	for _, c := range list {
		s.Conflicts = append(slices.DeleteFunc(s.Conflicts, func(old Conflict) bool { return old.Path == c.Path }), c)
	}
}

// UnmarshalJSON keeps the keys it does not know.
func (s *State) UnmarshalJSON(data []byte) error {
	type plain State
	if err := json.Unmarshal(data, (*plain)(s)); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &s.unknown); err != nil {
		return err
	}
	known, err := json.Marshal(fullState)
	if err != nil {
		return err
	}
	var names map[string]json.RawMessage
	if err := json.Unmarshal(known, &names); err != nil {
		return err
	}
	for name := range names {
		delete(s.unknown, name)
	}
	return nil
}

// fullState has every key, so that marshalling it lists them.
var fullState = func() any {
	type plain State
	return plain{
		Default: "x", Previous: "x", Last: "x", Trial: &Trial{}, Failures: []Failure{{}},
		Owed: []Owed{{}}, BEs: map[be.UUID]*Known{"x": {}}, NotTried: &NotTried{}, Trouble: &Trouble{},
		Conflicts: []Conflict{{}}, Left: &Left{}, Restore: &Restore{}, Separate: []Separate{{}}, Stopped: &Stopped{}, Loaders: &Loaders{},
	}
}()

// MarshalJSON writes the known keys and those that were read and not known.
func (s *State) MarshalJSON() ([]byte, error) {
	type plain State
	data, err := json.Marshal((*plain)(s))
	if err != nil || len(s.unknown) == 0 {
		return data, err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	for name, value := range s.unknown {
		all[name] = value
	}
	return json.Marshal(all)
}

// Dir is the folder of one store in a mounted state file system.
type Dir struct{ path string }

// Open uses the folder of the store guid below top, making it if create; it
// is NoStore if it is not there. The folder is root's alone.
func Open(top, guid string, create bool) (*Dir, error) {
	path := filepath.Join(top, guid)
	if create {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the state folder: %w", err)
		}
		if err := Sync(top); err != nil {
			return nil, fmt.Errorf("cannot make the state folder: %w", err)
		}
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, be.E(be.NoStore, "beadm is not set up here: run beadm setup")
	} else if err != nil {
		return nil, fmt.Errorf("cannot open the state folder: %w", err)
	}
	return &Dir{path: path}, nil
}

// Path of a file or folder of that name.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Load reads state.json; without one the State is empty.
func (d *Dir) Load() (*State, error) {
	s := &State{Version: Version}
	data, err := os.ReadFile(d.Path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the state: %w", err)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, be.E(be.Recovery, "cannot read %s: %w; beadm setup sets it aside and begins anew", d.Path("state.json"), err)
	}
	if head.Version < Version-1 || head.Version > Version {
		return nil, be.E(be.Recovery, "the state has format %d, and this beadm reads %d: use the beadm that wrote it", head.Version, Version)
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, be.E(be.Recovery, "cannot read %s: %w; beadm setup sets it aside and begins anew", d.Path("state.json"), err)
	}
	s.Version = Version
	return s, nil
}

// Save replaces state.json durably.
func (d *Dir) Save(s *State) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the state: %w", err)
	}
	return WriteFile(d.Path("state.json"), append(data, '\n'))
}
