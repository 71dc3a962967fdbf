package lvm

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestAnswers: a socket that nobody listens at is none, as the one that the udevd
// of an initramfs leaves.
func TestAnswers(t *testing.T) {
	dir, err := os.MkdirTemp("", "udev") // a socket's name is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	at := filepath.Join(dir, "control")
	if answers(at) {
		t.Error("none is there, and it answers")
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: at, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	if !answers(at) {
		t.Error("one that listens does not answer")
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := os.Lstat(at); err != nil {
		t.Fatal(err)
	}
	if answers(at) {
		t.Error("one that was left behind answers")
	}
	if !answers(udevSocket) && !slices.Contains(withConfig([]string{"lvs"}, ""), noUdev) {
		t.Error("LVM is not told that no udev runs")
	}
}
