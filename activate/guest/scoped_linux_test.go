package guest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// What a command's thread is given is not the process's.
func TestStartScopedLeavesTheProcessAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: a mount name space takes root")
	}
	space := func() string {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", os.Getpid()))
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	before := space()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // each goroutine on the thread that is free
	for range 300 {
		cmd := exec.Command("true")
		if err := StartScoped(cmd, func() error { return unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS) }); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if now := space(); now != before {
			t.Fatalf("the first thread is in %s, and was in %s", now, before)
		}
	}
}
