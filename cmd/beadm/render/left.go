package render

import (
	"fmt"
	"io"
	"text/tabwriter"

	"beadm/activate/left"
)

// mostLines is what is read at once.
const mostLines = 20

// Left writes what in lacks of what out wrote, data first.
func Left(w io.Writer, out, in string, places []left.Place) {
	fmt.Fprintf(w, "left behind, in %s and not in %s:\n", out, in)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i, p := range places {
		if i == mostLines {
			tw.Flush()
			fmt.Fprintf(w, "  and %d more\n", len(places)-i)
			return
		}
		fmt.Fprintf(tw, "%s\t  %s\n", Size(p.Bytes), p)
	}
	tw.Flush()
}
