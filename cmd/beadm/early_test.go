package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"beadm/activate/boot"
	"beadm/activate/boot/stub"
)

// TestDisksThatComeOneAfterTheOther: an array of which a disk is not there yet
// cannot be started; it is tried again until the time is over.
func TestDisksThatComeOneAfterTheOther(t *testing.T) {
	tries, assembled := 0, false
	open := func() (boot.Loader, error) {
		if !assembled {
			return nil, errors.New("it is on an array that is not there")
		}
		return stub.New(stub.Config{Dir: t.TempDir()}), nil
	}
	start := func(ctx context.Context) error {
		if _, ends := ctx.Deadline(); !ends {
			t.Error("a program that hangs would hold the boot")
		}
		if tries++; tries < 4 {
			return errors.New("no second disk")
		}
		assembled = true
		return nil
	}
	if _, err := waitForLoader(t.Context(), time.Now().Add(time.Minute), time.Millisecond, open, start); err != nil || tries != 4 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	// One that never comes, and one that needs nothing started.
	tries, assembled = -1000000, false
	began := time.Now()
	for _, start := range []func(context.Context) error{start, nil} {
		if l, err := waitForLoader(t.Context(), time.Now().Add(50*time.Millisecond), time.Millisecond, open, start); err == nil {
			t.Errorf("there is %v", l)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it held the boot for %v", took)
	}
}
