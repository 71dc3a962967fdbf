package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Damaged says of an error from reading one of our files that the bytes are
// no JSON, or JSON of another type: not what any version up to this one wrote.
func Damaged(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, io.ErrUnexpectedEOF)
}

// SetAside renames a damaged file and returns its new name: nothing is thrown
// away that somebody may still read.
func SetAside(path string) (string, error) {
	to := fmt.Sprintf("%s.damaged-%d", path, time.Now().Unix())
	if err := os.Rename(path, to); err != nil {
		return "", fmt.Errorf("cannot set %s aside: %w", path, err)
	}
	return to, Sync(filepath.Dir(path))
}
