package render

import (
	"fmt"
	"io"

	"beadm/activate"
)

// Pruned prints what prune did, or would do; with all also why others stay.
func Pruned(w io.Writer, p activate.Pruned, dryRun, all bool) {
	word := "destroyed"
	if dryRun {
		word = "would destroy"
	}
	for _, name := range p.Destroyed {
		fmt.Fprintf(w, "%s %s\n", word, name)
	}
	if dryRun && p.Frees > 0 {
		fmt.Fprintf(w, "would free %s\n", Size(p.Frees))
	}
	if len(p.Destroyed) == 0 {
		fmt.Fprintln(w, "nothing to prune")
	}
	if dryRun || all {
		for _, k := range p.Kept {
			fmt.Fprintf(w, "keeps %s: %s\n", k.BE, k.Why)
		}
	}
}
