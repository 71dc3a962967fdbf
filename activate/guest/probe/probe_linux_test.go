package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostile listens as a guest's system bus does, and answers with what serve does.
func hostile(t *testing.T, serve func(net.Conn)) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { f.Close() })
	return f
}

// letIn plays the part of the bus up to BEGIN (D-Bus Specification,
// Authentication Protocol).
func letIn(c net.Conn) bool {
	lines := bufio.NewReader(c)
	for {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			return false
		case strings.Contains(line, "BEGIN"):
			return true
		case strings.Contains(line, "AUTH EXTERNAL"):
			c.Write([]byte("OK 0123456789abcdef0123456789abcdef\r\n"))
		case strings.Contains(line, "AUTH"):
			c.Write([]byte("REJECTED EXTERNAL\r\n"))
		default:
			c.Write([]byte("ERROR\r\n"))
		}
	}
}

// Whatever a guest has for a bus, asking it ends, with an error, and takes
// little memory.
func TestHostileBus(t *testing.T) {
	flood := func(c net.Conn) {
		junk := bytes.Repeat([]byte("x"), 1<<16)
		for {
			if _, err := c.Write(junk); err != nil {
				return
			}
		}
	}
	// A method return whose body is said to be as long as D-Bus allows.
	huge := make([]byte, 16)
	copy(huge, []byte{'l', 2, 0, 1})
	binary.LittleEndian.PutUint32(huge[4:], 1<<27-64)
	binary.LittleEndian.PutUint32(huge[8:], 1)
	for name, serve := range map[string]func(net.Conn){
		"closes":         func(net.Conn) {},
		"says nothing":   func(c net.Conn) { time.Sleep(time.Minute) },
		"endless":        flood,
		"endless inside": func(c net.Conn) { letIn(c); flood(c) },
		"silent inside":  func(c net.Conn) { letIn(c); time.Sleep(time.Minute) },
		"a huge message": func(c net.Conn) { letIn(c); c.Write(huge); flood(c) },
		"rejects for ever": func(c net.Conn) {
			for {
				if _, err := c.Write([]byte("REJECTED EXTERNAL\r\n")); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			socket := hostile(t, serve)
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ended := make(chan error, 1)
			go func() { _, err := ask(ctx, socket, 0); ended <- err }()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("it was believed")
				}
			case <-time.After(20 * time.Second):
				t.Fatal("asking does not end")
			}
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
				t.Errorf("it took %d MiB", took>>20)
			}
		})
	}
}

// What still has the host's root is the runtime: the host's own bus says nothing
// of the guest.
func TestInitThatHasNotBegun(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	h, err := Systemd(t.Context(), cmd.Process.Pid)
	if err != nil || h.Up || !strings.Contains(h.Why, "not begun") {
		t.Errorf("%+v, %v", h, err)
	}
}
