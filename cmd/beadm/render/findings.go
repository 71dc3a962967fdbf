package render

import (
	"bytes"
	"fmt"
	"io"

	"beadm/be"
)

// Findings prints a sentence for each, with what to do below it.
func Findings(w io.Writer, list []be.Finding) error {
	var out bytes.Buffer
	for _, f := range list {
		fmt.Fprintf(&out, "%-8s %s\n", f.Severity, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(&out, "%-8s -> %s\n", "", f.Remedy)
		}
	}
	if len(list) == 0 {
		out.WriteString("nothing found\n")
	}
	_, err := w.Write(out.Bytes())
	return err
}
