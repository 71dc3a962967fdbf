package be

import (
	"errors"
	"fmt"
)

// Kind sorts errors by what the user has to do about them. Each kind has one
// documented exit code.
type Kind int

// The kinds, with their exit codes (beadm(8), EXIT STATUS).
const (
	Other      Kind = 1
	Usage      Kind = 2
	NotFound   Kind = 3
	InUse      Kind = 4  // exists already, or is in use, or the state forbids it
	Decision   Kind = 5  // the user must decide first
	Denied     Kind = 6  // not permitted
	NoStore    Kind = 10 // no store or no loader here
	Locked     Kind = 11 // another beadm is at work
	Undone     Kind = 12 // it failed and everything was undone
	Recovery   Kind = 13 // it stopped half way; run recover
	Unbootable Kind = 14 // the boot environment cannot boot, or could not come back
	Batch      Kind = 15 // some of a batch fell back
)

// ExitCode is the status a process ends with for an error of this kind.
func (k Kind) ExitCode() int { return int(k) }

// Error is an error somebody asks the kind of. Its text is one sentence that
// says what is wrong, with which object, and what to do.
type Error struct {
	Kind Kind
	text string
	err  error
}

// E makes an Error; format may use %w.
func E(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, text: err.Error(), err: errors.Unwrap(err)}
}

func (e *Error) Error() string { return e.text }
func (e *Error) Unwrap() error { return e.err }

// KindOf is the kind of the outermost *Error in err's chain, Other if there is
// none, and 0 for nil.
func KindOf(err error) Kind {
	if err == nil {
		return 0
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Other
}
