package guest

import (
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// A guest's root could open again, for writing, a file that it is handed as a
// descriptor, change its mode, and push characters into a terminal. It gets
// pipes.

// Relay is what f is written by from a pipe; nil takes all and keeps nothing.
func Relay(f *os.File) io.Writer {
	if f == nil {
		return struct{ io.Writer }{io.Discard}
	}
	return struct{ io.Writer }{f} // exec would hand down a file
}

// Feed gives the command in through a pipe; a terminal is not read. The
// returned function ends that; a read of in that waits is left to itself.
func Feed(cmd *exec.Cmd, in *os.File) (func(), error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin = theirs
	if in == nil || terminal(in) {
		ours.Close()
		return func() { theirs.Close() }, nil
	}
	go func() {
		_, _ = io.Copy(ours, in)
		ours.Close()
	}()
	return func() { theirs.Close(); ours.Close() }, nil
}

func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
