package activate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beadm/be"
)

// One that hangs while it mounts holds nobody for ever, nor one that is told to
// end.
func TestWaitForWhoMounts(t *testing.T) {
	dir := t.TempDir()
	hung, err := newHold(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer hung.release()
	if err := hung.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := newHold(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.release()
	err = other.beginWithin(t.Context(), 300*time.Millisecond)
	if be.KindOf(err) != be.Locked || !strings.Contains(err.Error(), "pid ") || !strings.Contains(err.Error(), filepath.Base(os.Args[0])) {
		t.Errorf("%v, want Locked and who it is", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if err := other.begin(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	go func() { time.Sleep(200 * time.Millisecond); hung.end() }()
	if err := other.begin(t.Context()); err != nil {
		t.Errorf("after the other ended: %v", err)
	}
}
