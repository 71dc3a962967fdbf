package zfs

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDiskPulledOut has a pool whose disk was pulled out, and which does not
// know yet, be looked at by the others: the way back must not hang on it.
func TestDiskPulledOut(t *testing.T) {
	there := filepath.Join(t.TempDir(), "vdev")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := layers([]string{there + ".gone", there}); err != nil || names != nil {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := layers([]string{there + ".gone"}); err == nil {
		t.Error("a pool of which nothing is there was looked at")
	}
}
