package guest

import (
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StartScoped starts a command that, with all that comes of it, reaches no
// abstract socket (unix(7)) of others: those have no owner and no mode, and are
// the network's, which it has in common with the host. Linux can do that from 6.12
// on; before, or without Landlock, it is started all the same. prepare, which may be
// nil, runs on its thread before it: what that leaves of other name spaces is the
// command's alone.
func StartScoped(cmd *exec.Cmd, prepare func() error) error {
	started := make(chan error, 1)
	onThreadOfItsOwn(func() {
		if prepare != nil {
			if err := prepare(); err != nil {
				started <- err
				return
			}
		}
		scope()
		started <- cmd.Start()
	})
	return <-started
}

// onThreadOfItsOwn calls f on a thread that ends with it. The process's first
// thread never ends: a name space that it was given would last, and keep busy all
// that is mounted there.
func onThreadOfItsOwn(f func()) {
	ended := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			defer close(ended)
			f()
			return
		}
		// While this one holds the first thread, another cannot be on it.
		go func() {
			defer close(ended)
			runtime.LockOSThread()
			f()
		}()
		<-ended
		runtime.UnlockOSThread()
	}()
	<-ended
}

func scope() {
	const abstractSockets = 1 // LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	attr := struct{ fs, net, scoped uint64 }{scoped: abstractSockets}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return
	}
	defer unix.Close(int(fd))
	_, _, _ = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
}
