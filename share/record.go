package share

import (
	"encoding/json"
	"errors"
	"fmt"

	"beadm/be"
)

// Recorder makes the state of an operation durable: when it returns, Recover
// will be given this state, or a later one, after whatever happens.
type Recorder func(step string, state []byte) error

// phase is how far a relocation has come. Every phase is recorded before the
// first effect that belongs to it.
type phase string

const (
	copying    phase = "copying"    // copies under their hidden names; nothing else changed
	stopping   phase = "stopping"   // the same, and the journal released and Units stopped, maybe
	exchanging phase = "exchanging" // copies complete and durable; each path is the old or the new
	starting   phase = "starting"   // every path is what it shall be; Units are started again
	done       phase = "done"
)

const recordVersion = 1

// record is what Recover needs to finish or to undo.
type record struct {
	Version int      `json:"version"`
	Op      string   `json:"op"`           // "init" or "undo"
	BE      be.UUID  `json:"be,omitempty"` // whose directories are moved; empty: of an older beadm, nobody knows
	Root    string   `json:"root"`
	Phase   phase    `json:"phase"`
	Names   []string `json:"names"`
	Units   []string `json:"units,omitempty"`   // to start again
	Release bool     `json:"release,omitempty"` // the journal may have been released
	// Passed: it was cut while exchanging, and another boot environment has
	// used since what was in the shared dataset then.
	Passed bool `json:"passed,omitempty"`
}

func (r *record) bytes() ([]byte, error) {
	r.Version = recordVersion
	return json.Marshal(r)
}

func (r *record) save(to Recorder, p phase) error {
	r.Phase = p
	if to == nil {
		return nil
	}
	data, err := r.bytes()
	if err != nil {
		return err
	}
	effect("record " + string(p))
	if err := to("share "+r.Op+": "+string(p), data); err != nil {
		return fmt.Errorf("cannot record how far it came: %w", err)
	}
	return nil
}

func parseRecord(state []byte) (record, error) {
	var r record
	if err := json.Unmarshal(state, &r); err != nil {
		return r, be.E(be.Recovery, "cannot read the record of a relocation: %w", err)
	}
	if r.Version != recordVersion {
		return r, be.E(be.Recovery, "cannot read the record of a relocation: it is of version %d, this beadm knows %d", r.Version, recordVersion)
	}
	if r.Op != "init" && r.Op != "undo" {
		return r, be.E(be.Recovery, "cannot read the record of a relocation: %w", errors.New("operation "+r.Op+" is unknown"))
	}
	for _, n := range r.Names {
		if _, ok := PathOf(n); !ok {
			return r, be.E(be.Recovery, "cannot read the record of a relocation: it names %q", n)
		}
	}
	return r, nil
}
