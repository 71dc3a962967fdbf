package be

import "context"

// Severity of a Finding: what needs an administrator, and what is only to be known.
const (
	FindingError   = "error"   // something will not work, or data will be lost
	FindingWarning = "warning" // it works, and not as one would expect
	FindingNote    = "note"    // so it is
)

// Finding is something about a layout that matters for boot environments.
type Finding struct {
	ID       string `json:"id"` // of the rule, one word
	Severity string `json:"severity"`
	Text     string `json:"text"`
	Remedy   string `json:"remedy,omitempty"` // what to do
}

// Inspector is a Store that finds what is odd about its own layout. It only
// reads.
type Inspector interface {
	Inspect(ctx context.Context) ([]Finding, error)
}
