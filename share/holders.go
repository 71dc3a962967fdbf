package share

import (
	"fmt"
	"sort"
	"strings"
)

// Holder is a process that has something open in a tree that is to move.
type Holder struct {
	PID     int    `json:"pid"` // 0: the kernel (a loop device, swap)
	Command string `json:"command"`
	Unit    string `json:"unit,omitempty"` // empty: of no unit that can be stopped
	Path    string `json:"path"`           // one of the things it holds
}

// Who it is, for people.
func (h Holder) String() string {
	s := h.Command
	if h.PID > 0 {
		s += fmt.Sprintf(" (pid %d)", h.PID)
	}
	if h.Unit != "" {
		s = h.Unit + ": " + s
	}
	return s + " at " + h.Path
}

// holdersText names the first few.
func holdersText(list []Holder) string {
	const most = 12
	var parts []string
	for i, h := range list {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		parts = append(parts, h.String())
	}
	return strings.Join(parts, "; ")
}

// unitsOf lists the units of the holders.
func unitsOf(list []Holder) []string {
	seen := map[string]bool{}
	var units []string
	for _, h := range list {
		if h.Unit != "" && !seen[h.Unit] {
			seen[h.Unit] = true
			units = append(units, h.Unit)
		}
	}
	sort.Strings(units)
	return units
}
