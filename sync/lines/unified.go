package lines

import (
	"errors"

	"github.com/aymanbagabas/go-udiff"
)

// ErrNotText says that there are no lines to show.
var ErrNotText = errors.New("not text")

// Unified shows what turned old into new, as diff -u does (POSIX, diff,
// "Diff -u Output Format"); nothing if they are the same.
func Unified(old, new []byte, oldName, newName string) (string, error) {
	if !text(old) || !text(new) {
		return "", ErrNotText
	}
	return udiff.ToUnified(oldName, newName, string(old), udiff.Lines(string(old), string(new)), udiff.DefaultContextLines)
}
