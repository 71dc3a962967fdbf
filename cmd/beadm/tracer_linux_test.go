package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A tracer stops a program, and all that it starts, before every system call
// that changes something on a disk or in the mount table, and kills it there
// when it is told so: SIGKILL, so that nothing is cleaned up.
type tracer struct {
	// killAt is asked before each effect, which are numbered from 1.
	killAt func(n int, what string) bool
	// failAt is asked the same; what it says yes to is not done, and fails for want
	// of space.
	failAt func(n int, what string) bool

	effects int
	failing map[int]bool // those that stand at a call that is not done
	killed  string       // what was not done any more
	alive   map[int]bool
}

// run runs the command under the tracer. The exit code is -1 if it was killed.
func (tr *tracer) run(cmd *exec.Cmd) (code int, err error) {
	// A tracee belongs to the thread that traces it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return -1, fmt.Errorf("cannot trace %s: %w", cmd.Path, err)
	}
	first := cmd.Process.Pid
	tr.alive = map[int]bool{first: true}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(first, &ws, unix.WALL, nil); err != nil {
		return -1, err
	}
	const follow = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(first, follow); err != nil {
		return -1, err
	}
	if err := unix.PtraceSyscall(first, 0); err != nil {
		return -1, err
	}
	code = -1
	for len(tr.alive) > 0 {
		// By its process group: not what else the test has started.
		pid, err := unix.Wait4(-first, &ws, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			tr.alive = nil
			continue
		case err != nil:
			return -1, err
		case ws.Exited() || ws.Signaled():
			delete(tr.alive, pid)
			if pid == first && ws.Exited() {
				code = ws.ExitStatus()
			}
			continue
		}
		tr.stopped(pid, ws)
	}
	cmd.Process.Release()
	return code, nil
}

// stopped lets a thread that stopped go on, or ends it all.
func (tr *tracer) stopped(pid int, ws unix.WaitStatus) {
	deliver := 0
	switch sig := ws.StopSignal(); {
	case sig == unix.SIGTRAP|0x80 && tr.failing[pid]:
		delete(tr.failing, pid)
		endWith(pid, unix.ENOSPC)
	case sig == unix.SIGTRAP|0x80:
		if what := tr.effect(pid); what != "" && tr.killed == "" {
			tr.effects++
			if tr.killAt != nil && tr.killAt(tr.effects, what) {
				tr.killed = what
				for p := range tr.alive {
					unix.Kill(p, unix.SIGKILL)
				}
				return
			}
			if tr.failAt != nil && tr.failAt(tr.effects, what) && skipCall(pid) {
				if tr.failing == nil {
					tr.failing = map[int]bool{}
				}
				tr.failing[pid] = true
			}
		}
	case sig == unix.SIGTRAP: // an event: somebody new, or exec
	case sig == unix.SIGSTOP && !tr.alive[pid]: // the new one
	default:
		deliver = int(sig)
	}
	tr.alive[pid] = true
	unix.PtraceSyscall(pid, deliver) // it may be dead by now
}

// callInfo is struct ptrace_syscall_info (ptrace(2)).
type callInfo struct {
	Op   uint8
	_    [3]uint8
	Arch uint32
	_    [2]uint64
	Nr   uint64
	Args [6]uint64
	_    [2]uint64
}

const (
	ptraceGetSyscallInfo = 0x420e
	syscallEntry         = 1
)

// effect names what the system call at whose entry pid stands would change;
// empty: nothing, or it stands at an exit.
func (tr *tracer) effect(pid int) string {
	var c callInfo
	if _, _, e := unix.RawSyscall6(unix.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(pid), unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c)), 0, 0); e != 0 || c.Op != syscallEntry {
		return ""
	}
	path := func(arg int) string { return text(pid, c.Args[arg]) }
	fd := func(arg int) string {
		at, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, int32(c.Args[arg])))
		return at
	}
	switch c.Nr {
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return "rename " + path(1) + " to " + path(3)
	case unix.SYS_MKDIRAT, unix.SYS_MKNODAT:
		return "make " + path(1)
	case unix.SYS_UNLINKAT:
		return "remove " + path(1)
	case unix.SYS_SYMLINKAT:
		return "link " + path(2)
	case unix.SYS_LINKAT:
		return "link " + path(3)
	case unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT:
		return "attributes of " + path(1)
	case unix.SYS_FCHMOD, unix.SYS_FCHOWN, unix.SYS_FSETXATTR, unix.SYS_FREMOVEXATTR:
		return "attributes of " + fd(0)
	case unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR:
		return "attributes of " + path(0)
	case unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE:
		return "size of " + fd(0)
	case unix.SYS_OPENAT:
		if at := path(1); c.Args[2]&(unix.O_CREAT|unix.O_TRUNC) != 0 && !strings.HasPrefix(at, "/dev/") {
			return "create " + at
		}
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE:
		arg := 0
		if c.Nr == unix.SYS_COPY_FILE_RANGE {
			arg = 2
		}
		if at := fd(arg); strings.HasPrefix(at, "/") && !strings.HasPrefix(at, "/dev/") && !strings.HasPrefix(at, "/proc/") {
			return "write " + at
		}
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS:
		return "sync " + fd(0)
	case unix.SYS_MOUNT:
		return "mount " + path(1)
	case unix.SYS_UMOUNT2:
		return "unmount " + path(0)
	case unix.SYS_MOVE_MOUNT:
		return "mount " + path(3)
	case unix.SYS_IOCTL:
		return ioctlEffect(uint32(c.Args[1]))
	}
	return ""
}

// ioctlEffect knows those of linux/btrfs.h and linux/fs.h that change
// something.
func ioctlEffect(request uint32) string {
	const btrfs, inode = 0x94, 'f'
	nr := request & 0xff
	switch request >> 8 & 0xff {
	case btrfs:
		for _, n := range []uint32{8, 9, 13, 14, 15, 19, 22, 23, 24, 26, 63} {
			if n == nr {
				return fmt.Sprintf("btrfs ioctl %d", nr)
			}
		}
	case inode:
		if nr == 2 {
			return "flags of an inode"
		}
	}
	return ""
}

// text is the string at an address of another process.
func text(pid int, addr uint64) string {
	var buf [unix.PathMax]byte
	n := 0
	for n < len(buf) {
		// A page at a time: the next one may not be there.
		page := 4096 - int((addr+uint64(n))%4096)
		local := []unix.Iovec{{Base: &buf[n]}}
		part := min(page, len(buf)-n)
		local[0].SetLen(part)
		got, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(addr) + uintptr(n), Len: part}}, 0)
		if err != nil || got == 0 {
			break
		}
		if i := bytes.IndexByte(buf[n:n+got], 0); i >= 0 {
			return string(buf[:n+i])
		}
		n += got
	}
	return string(buf[:n])
}
