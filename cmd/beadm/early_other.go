//go:build !linux

package main

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"beadm/activate/boot"
	"beadm/activate/boot/bootenv"
	"beadm/activate/boot/fbsd"
	"beadm/activate/boot/illumos"
)

// earlyMain is what init(8) of FreeBSD and SMF of illumos run before any
// service. It never fails: both would keep the system from coming up. A boot
// of which nothing can be known but that the loader took a token is a trial:
// its tools may be what is broken.
func earlyMain() error {
	os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	took := map[string]func(context.Context, bootenv.Run) bool{fbsd.Name: fbsd.TookToken, illumos.Name: illumos.TookToken}
	var trial atomic.Bool
	if f := took[runtime.GOOS]; f != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		trial.Store(f(ctx, bootenv.Exec))
		cancel()
	}
	bootFirst(func() error {
		said, err := earlyCmdline(context.Background())
		if err != nil {
			return err
		}
		_, is := boot.Cmdline(said)
		trial.Store(is)
		return earlyBoot(said)
	}, trial.Load)
	return nil
}

func earlyCmdline(ctx context.Context) ([]byte, error) {
	store, done, err := openStore(ctx, "", "/")
	if err != nil {
		return nil, err
	}
	defer done()
	return cmdline(ctx, store)
}
