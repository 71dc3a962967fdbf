package render

import (
	"fmt"
	"io"

	"beadm/activate"
	"beadm/be"
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
	frees := be.Frees{Bytes: p.FreesAtLeast, AtLeast: p.Frees == nil}
	if p.Frees != nil {
		frees.Bytes = *p.Frees
	}
	if dryRun && len(p.Destroyed) > 0 {
		fmt.Fprintf(w, "would free %s\n", Frees(frees))
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
