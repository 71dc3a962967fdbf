package state

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Event is one line of the history: something that changed.
type Event struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"` // the command or the transition
	BE     string    `json:"be,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// Record appends an event durably. A torn last line, from a power cut, is
// left behind and skipped by History.
func (d *Dir) Record(e Event) error {
	if e.At.IsZero() {
		e.At = time.Now().UTC()
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("cannot record %s: %w", e.What, err)
	}
	f, err := os.OpenFile(d.Path("history.jsonl"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot record %s: %w", e.What, err)
	}
	defer f.Close()
	// A leading newline ends a line that a power cut may have torn.
	if _, err = f.Write(append([]byte{'\n'}, line...)); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("cannot record %s: %w", e.What, err)
	}
	return nil
}

// longestLine is the longest line of the history that is read.
const longestLine = 1 << 20

// History returns all events, oldest first. A line that cannot be read, or that
// is longer than any event of ours, is skipped.
func (d *Dir) History() ([]Event, error) {
	f, err := os.Open(d.Path("history.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the history: %w", err)
	}
	defer f.Close()
	var events []Event
	lines := bufio.NewReaderSize(f, longestLine)
	for tooLong := false; ; {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			tooLong = true
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return events, fmt.Errorf("cannot read the history: %w", err)
		}
		var e Event
		if !tooLong && json.Unmarshal(line, &e) == nil {
			events = append(events, e)
		}
		if err != nil {
			return events, nil
		}
		tooLong = false
	}
}
