package reconcile

import (
	"beadm/be"
	"beadm/sync/account"
	"beadm/sync/manifest"
)

// Action is what happened to a path.
type Action string

// The actions.
const (
	Copied   Action = "copied"
	Merged   Action = "merged"
	Removed  Action = "removed"
	Left     Action = "left"     // removed there and not here, or not for a failback to carry
	Conflict Action = "conflict" // left as it is here; somebody should look
	Shared   Action = "shared"   // in the shared dataset: one file for both
	Kept     Action = "kept"     // KEEP
)

// Item is one path of a report.
type Item struct {
	Path    manifest.Text   `json:"path"`
	Action  Action          `json:"action"`
	Reason  string          `json:"reason,omitempty"`
	Records []account.Event `json:"records,omitempty"` // of account files
	// Saved is where what was not taken, or was replaced, stands now, inside
	// the incoming boot environment.
	Saved manifest.Text `json:"saved,omitempty"`
}

// Report says what a Reconcile did, or would do. Items are sorted by path.
type Report struct {
	From   be.UUID  `json:"from"`
	To     be.UUID  `json:"to"`
	DryRun bool     `json:"dry_run,omitempty"`
	Items  []Item   `json:"items"`
	Notes  []string `json:"notes,omitempty"`
}

// Conflicts are the items, and records in them, that somebody should look at.
func (r Report) Conflicts() []Item {
	var list []Item
	for _, item := range r.Items {
		look := item.Action == Conflict
		for _, e := range item.Records {
			look = look || e.What == account.Conflict || e.What == account.Held
		}
		if look {
			list = append(list, item)
		}
	}
	return list
}
