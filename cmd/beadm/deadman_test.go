//go:build linux

package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"beadm/activate"
	"beadm/be/state"
)

// opens opens the machine within the test, for what would reset a host.
func (m *machine) opens() (*activate.Target, error) {
	store, _, err := openStore(context.Background(), "", m.root)
	if err != nil {
		return nil, err
	}
	return &activate.Target{Store: store, Root: m.root, Runtime: filepath.Join(runtimeDir, store.GUID()), Report: kernelLog{}, OpenLoader: openLoader(store), Conf: activate.DefaultConf(), AnyHost: true}, nil
}

func cannotOpen() (*activate.Target, error) { return nil, errors.New("zfs list: out of memory") }

// A confirmed machine is not reset, whatever else cannot be asked then; and
// the timer does not live on.
func TestDeadmanOfAConfirmedTrial(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("activate", "new")
	act := m.activation()
	m.comeUp()
	resets := 0
	reset := func() { resets++ }
	check(t, activate.Deadman(t.Context(), 0, act, runtimeDir, m.opens, reset))
	check(t, activate.Deadman(t.Context(), 0, act, runtimeDir, cannotOpen, reset))
	if resets != 2 {
		t.Fatalf("%d resets of a trial that is not confirmed in time", resets)
	}
	if st := m.status(); st.State != "trying" {
		t.Fatalf("%+v", st)
	}
	m.loads()
	m.ok("boot")
	m.is("failed", "debian", "debian")

	m.ok("activate", "new")
	act = m.activation()
	m.comeUp()
	waits := make(chan error, 1)
	go func() {
		waits <- activate.Deadman(t.Context(), time.Duration(1<<62), act, runtimeDir, cannotOpen, reset)
	}()
	m.ok("confirm")
	m.is("idle", "new", "new")
	check(t, activate.Deadman(t.Context(), 0, act, runtimeDir, m.opens, reset))
	check(t, activate.Deadman(t.Context(), 0, act, runtimeDir, cannotOpen, reset))
	select {
	case err := <-waits:
		check(t, err)
	case <-time.After(20 * time.Second):
		t.Error("the timer goes on after the confirmation")
	}
	if resets != 2 {
		t.Error("a confirmed machine was reset")
	}
}

// Nor by the checks, which go on when a person confirms before they have held.
func TestChecksOfAConfirmedTrial(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	conf := filepath.Join(t.TempDir(), "beadm.conf")
	write(t, conf, "confirm.hold = 1s\nconfirm.within = 6s\n")
	for _, confirm := range []bool{false, true} {
		m.ok("--config", conf, "activate", "new")
		m.comeUp()
		target, err := m.opens()
		check(t, err)
		target.Conf.Hold, target.Conf.Checks = time.Second, []string{"false"}
		resets := 0
		waits := make(chan error, 1)
		go func() { waits <- target.WatchTrial(t.Context(), 100*time.Millisecond, func() { resets++ }) }()
		if confirm {
			time.Sleep(time.Second)
			m.ok("confirm")
		}
		check(t, <-waits)
		if confirm != (resets == 0) {
			t.Errorf("confirmed: %v, resets: %d", confirm, resets)
		}
		if !confirm {
			m.comeUp()
			m.is("failed", "debian", "debian")
		}
	}
	m.is("idle", "new", "new")
}

// Emergency mode resets a trial, and nothing else.
func TestEmergencyResetsATrialOnly(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	tried := []byte("quiet beadm.be=b0123456789ab beadm.trial=1\n")
	resets := func(want bool, open func() (*activate.Target, error), cmdline []byte, runtimes string) {
		t.Helper()
		n := 0
		runs, err := activate.EndTrial(t.Context(), state.ReasonEmergency, "", cmdline, runtimes, open, func() { n++ })
		if runs != want || n > 0 != want {
			t.Errorf("resets: %d, a trial runs: %v, wanted %v; %v", n, runs, want, err)
		}
	}
	resets(false, m.opens, tried, runtimeDir)
	m.ok("activate", "new")
	resets(false, m.opens, tried, runtimeDir) // armed only
	m.comeUp()
	resets(true, m.opens, nil, runtimeDir)
	// Another one runs, and that was not settled.
	m.switchTo("@debian")
	resets(false, m.opens, nil, runtimeDir)
	m.ok("boot")
	m.is("failed", "debian", "debian")
	if f := m.status().Failure; f == nil || f.Reason != state.ReasonEmergency {
		t.Errorf("%+v", f)
	}
	resets(false, m.opens, nil, runtimeDir)

	m.ok("activate", "-t", "new")
	m.comeUp()
	resets(false, m.opens, tried, runtimeDir)

	// One that was started once and did not come up is reset, not a session in
	// it that somebody put into emergency mode.
	confirmed := t.TempDir()
	write(t, filepath.Join(confirmed, "0123", "ended"), "a1\n")
	for _, c := range []struct {
		cmdline  []byte
		runtimes string
		up       time.Duration
		want     bool
	}{
		{tried, t.TempDir(), time.Minute, true},
		{tried, t.TempDir(), time.Hour, false},
		{tried, confirmed, time.Minute, false},
		{[]byte("quiet beadm.be=b0123456789ab\n"), t.TempDir(), time.Minute, false},
	} {
		if got := activate.StartsOnce(c.cmdline, c.runtimes, c.up); got != c.want {
			t.Errorf("%q, up for %s: reset %v", c.cmdline, c.up, got)
		}
	}

	// Who cannot ask believes the kernel's command line, until a trial of the
	// host was confirmed.
	resets(true, cannotOpen, tried, t.TempDir())
	resets(false, cannotOpen, []byte("quiet beadm.be=b0123456789ab\n"), t.TempDir())
	for name, want := range map[string]bool{"ended": false, "ended-guest": true} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "0123", name), "a1\n")
		resets(want, cannotOpen, tried, dir)
	}
}
