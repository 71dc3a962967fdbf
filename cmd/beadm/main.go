// Beadm manages boot environments; see beadm(8).
package main

import "os"

func main() {
	os.Exit(run(os.Args, streams{os.Stdin, os.Stdout, os.Stderr}))
}
