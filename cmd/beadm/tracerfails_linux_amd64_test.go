package main

import "golang.org/x/sys/unix"

const canFailCalls = true

// skipCall has the system call at whose entry a thread stands not be done.
func skipCall(pid int) bool {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(pid, &regs) != nil {
		return false
	}
	regs.Orig_rax = ^uint64(0)
	return unix.PtraceSetRegs(pid, &regs) == nil
}

// endWith has one that was skipped, at whose exit it stands, end with an error.
func endWith(pid int, errno unix.Errno) {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(pid, &regs) == nil {
		regs.Rax = -uint64(errno)
		unix.PtraceSetRegs(pid, &regs)
	}
}
