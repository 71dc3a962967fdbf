package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be/dir"
	"beadm/be/rooted"
)

// showCopies says on a terminal how far a copy is that takes longer than a
// second, in one line that goes again. It is nil where there is none.
func showCopies(out *os.File) func(dir.Progress) {
	if _, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	var since time.Time
	width := 0
	return func(p dir.Progress) {
		switch {
		case p.Done:
			if width > 0 {
				fmt.Fprintf(out, "\r%s\r", strings.Repeat(" ", width))
			}
			since, width = time.Time{}, 0
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > time.Second:
			text := fmt.Sprintf("copying %s: %d files, %d MiB", rooted.Printable(p.Name), p.Files, p.Bytes>>20)
			fmt.Fprintf(out, "\r%-*s", width, text)
			width = max(width, len(text))
		}
	}
}
