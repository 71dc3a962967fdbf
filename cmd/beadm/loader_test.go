package main

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"

	"beadm/be"
)

// ofHosts is a store that can hold the root of a host.
type ofHosts struct{ be.Store }

func (ofHosts) Caps() be.Caps { return be.Caps{Hosts: true} }

// TestTheSystemsOwnLoader is set up without being named, and nowhere else.
func TestTheSystemsOwnLoader(t *testing.T) {
	for _, goos := range []string{"freebsd", "illumos"} {
		for _, kind := range []string{"", goos} {
			conf, err := loaderOptions{goos: goos, kind: kind}.config(ofHosts{})
			if err != nil || conf.Kind != goos || conf.Dir != "" || conf.FSUUID != "" || conf.Args == nil {
				t.Errorf("%s, --loader %q: %+v %v", goos, kind, conf, err)
			}
		}
		if _, err := (loaderOptions{goos: "linux", kind: goos}).config(ofHosts{}); be.KindOf(err) != be.NoStore || !strings.Contains(err.Error(), goos) {
			t.Errorf("%s on Linux: %v", goos, err)
		}
		if _, err := (loaderOptions{goos: goos, dir: "/boot/beadm"}).config(ofHosts{}); be.KindOf(err) != be.Usage || !strings.Contains(err.Error(), "--loader-dir") {
			t.Errorf("%s with a directory: %v", goos, err)
		}
	}
	if _, err := (loaderOptions{goos: "linux", kind: "lilo"}).config(ofHosts{}); be.KindOf(err) != be.Usage || !strings.Contains(err.Error(), "freebsd, illumos") {
		t.Errorf("%v", err)
	}
}

// TestEarlyBootIsForOtherSystems: here a person who types it must not start
// what may reset the machine.
func TestEarlyBootIsForOtherSystems(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Fatal("this would boot")
	}
	var words bytes.Buffer
	if code := run([]string{"beadm", "early-boot"}, streams{out: io.Discard, err: &words}); code != 2 || !strings.Contains(words.String(), "FreeBSD and illumos") {
		t.Errorf("exit %d: %s", code, words.String())
	}
}
