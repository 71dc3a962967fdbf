// Package storetest is the contract of be.Store as a test: every store runs
// it on the real thing.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"testing"

	"beadm/be"
)

// Fixture makes stores of one kind.
type Fixture struct {
	// New makes a fresh store that is gone when the test ends.
	New func(t *testing.T) *Env

	// Without names tests of what such a store refuses.
	Without []string
}

// Env is one store with one running boot environment in it.
type Env struct {
	// Open opens the store as another process would. It is closed when the
	// test ends.
	Open func(t *testing.T) be.Store

	// OpenAt opens the store that Location() names, or is nil.
	OpenAt func(t *testing.T, location string) be.Store

	// Root is the target's root directory, Running the name of the boot
	// environment mounted there: a small tree with etc/fstab and the
	// directories of Subordinates.
	Root    string
	Running string

	// Subordinates are the paths in the boot environment that are file
	// systems or subvolumes of their own.
	Subordinates []string

	// SetMark sets a local property of the store's own kind on the part of a
	// boot environment at path ("" is its root); Mark reads it. Both are nil
	// where there is no such thing.
	SetMark func(t *testing.T, name, path, value string)
	Mark    func(t *testing.T, name, path string) string

	// Elsewhere mounts a file system of the store's kind that is in no boot
	// environment, and returns where; nil: the store snapshots no such thing.
	Elsewhere func(t *testing.T) string

	// Beside opens another, empty store of the kind, of which something can be
	// cloned to this one or, with far, nothing; nil: the store clones nothing of
	// others.
	Beside func(t *testing.T, far bool) be.Store

	// Intercept has f called before ("before") and after ("after") everything
	// that the store does to the disk or the mount table. An error from it
	// before stands for a failure of the thing itself. nil: cannot be had.
	Intercept func(s be.Store, f func(when, what string) error)

	// Used is how many bytes are in use in the store, by the tools of its kind;
	// nil: only Free is asked.
	Used func(t *testing.T) int64

	// Apart: copies share nothing.
	Apart bool

	// MountSource begins the source, in the mount table, of everything that
	// this store mounts: others may be at work on the same machine.
	MountSource string

	store be.Store
}

// Run holds a store to the contract.
func Run(t *testing.T, f Fixture) {
	tests := []struct {
		name string
		run  func(t *testing.T, e *Env)
	}{
		{"Found", testFound},
		{"Adopt", testAdopt},
		{"Clone", testClone},
		{"CloneOfSnapshot", testCloneOfSnapshot},
		{"CloneOfAnother", testCloneOfAnother},
		{"Joint", testJoint},
		{"Sealed", testSealed},
		{"Empty", testEmpty},
		{"Filled", testFilled},
		{"Streams", testStreams},
		{"Refusals", testRefusals},
		{"Chain", testChain},
		{"Space", testSpace},
		{"SpaceOfSets", testSpaceOfSets},
		{"Destroy", testDestroy},
		{"Rename", testRename},
		{"Describe", testDescribe},
		{"Mount", testMount},
		{"MountBusy", testMountBusy},
		{"MountStaysInside", testMountStaysInside},
		{"CompleteMounts", testCompleteMounts},
		{"Snapshots", testSnapshots},
		{"Parts", testParts},
		{"Volumes", testVolumes},
		{"Elsewhere", testElsewhere},
		{"RootRef", testRootRef},
		{"Cancelled", testCancelled},
		{"Failures", testFailures},
		{"Cuts", testCuts},
	}
	for _, tt := range tests {
		if slices.Contains(f.Without, tt.name) {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			e := f.New(t)
			e.store = e.Open(t)
			mounts := e.mountTable(t)
			tt.run(t, e)
			if left := more(e.mountTable(t), mounts); len(left) > 0 && !t.Failed() {
				t.Errorf("left mounted: %s", strings.Join(left, "; "))
			}
		})
	}
}

func bg() context.Context { return context.Background() }

// mountTable is the mounts of the store in this process's mount table, as
// "where what", sorted.
func (e *Env) mountTable(t *testing.T) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Fields(line)
		_, after, _ := strings.Cut(line, " - ")
		if source := strings.Fields(after); len(source) > 1 && e.mounts(source[1]) {
			list = append(list, f[4]+" "+f[3])
		}
	}
	sort.Strings(list)
	return list
}

// mounts tells /dev/loop1 from another's /dev/loop10.
func (e *Env) mounts(source string) bool {
	rest, is := strings.CutPrefix(source, e.MountSource)
	return is && (rest == "" || rest[0] < '0' || rest[0] > '9')
}

// more is what b has that a lacks, where they are lists of equal things.
func more(b, a []string) []string {
	count := map[string]int{}
	for _, s := range a {
		count[s]++
	}
	var list []string
	for _, s := range b {
		if count[s]--; count[s] < 0 {
			list = append(list, s)
		}
	}
	return list
}

// state is all that the store says of itself, to be compared.
func state(t *testing.T, s be.Store) string {
	t.Helper()
	list, err := s.List(bg())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	var out strings.Builder
	for _, b := range list {
		fmt.Fprintf(&out, "%s uuid=%s description=%q running=%v incomplete=%v origin=%s mounted=%s\n",
			b.Name, b.UUID, b.Description, b.Running, b.Incomplete, b.Origin, b.Mountpoint)
		if b.Incomplete {
			continue
		}
		for _, sn := range snapshots(t, s, b.Name) {
			fmt.Fprintf(&out, "%s@%s guid=%s\n", b.Name, sn.Name, sn.GUID)
		}
	}
	for _, v := range []be.Volume{be.StateVolume, be.ShareVolume} {
		there, err := s.VolumeExists(bg(), v)
		if err != nil {
			t.Fatalf("VolumeExists: %v", err)
		}
		fmt.Fprintf(&out, "volume %s %v\n", v, there)
	}
	return out.String()
}

func names(t *testing.T, s be.Store) []string {
	t.Helper()
	list, err := s.List(bg())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	var out []string
	for _, b := range list {
		out = append(out, b.Name)
	}
	return out
}

func find(t *testing.T, s be.Store, name string) (be.BE, bool) {
	t.Helper()
	list, err := s.List(bg())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, b := range list {
		if b.Name == name {
			return b, true
		}
	}
	return be.BE{}, false
}

func get(t *testing.T, s be.Store, name string) be.BE {
	t.Helper()
	b, ok := find(t, s, name)
	if !ok {
		t.Fatalf("%s is not listed: %v", name, names(t, s))
	}
	return b
}

func snapshots(t *testing.T, s be.Store, name string) []be.Snapshot {
	t.Helper()
	list, err := s.Snapshots(bg(), name)
	if err != nil {
		t.Fatalf("Snapshots(%s): %v", name, err)
	}
	return list
}

func wantKind(t *testing.T, what string, err error, kind be.Kind) {
	t.Helper()
	if be.KindOf(err) != kind {
		t.Errorf("%s: %v (kind %d), want kind %d", what, err, be.KindOf(err), kind)
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// create clones from and fails the test if it cannot.
func create(t *testing.T, s be.Store, name, from string) be.BE {
	t.Helper()
	b, err := s.Create(bg(), be.CreateOptions{Name: name, UUID: be.NewUUID(), From: from, AutoSnapshot: "auto-" + name, Description: "made as " + name})
	must(t, "Create "+name, err)
	return b
}

// with mounts a boot environment, calls f and unmounts it.
func with(t *testing.T, s be.Store, name string, readOnly bool, f func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	must(t, "Mount "+name, s.Mount(bg(), name, dir, readOnly))
	defer func() { must(t, "Unmount "+name, s.Unmount(bg(), name, false)) }()
	f(dir)
}

// withSnapshot does it with a snapshot.
func withSnapshot(t *testing.T, s be.Store, name, snap string, f func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	must(t, "MountSnapshot "+name+"@"+snap, s.MountSnapshot(bg(), name, snap, dir))
	defer func() { must(t, "UnmountDir", s.UnmountDir(bg(), dir)) }()
	f(dir)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, "write", os.WriteFile(path, []byte(text), 0o640))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "(not there)"
	}
	must(t, "read", err)
	return string(b)
}

func wantFile(t *testing.T, path, text string) {
	t.Helper()
	if got := read(t, path); got != text {
		t.Errorf("%s holds %q, want %q", path, got, text)
	}
}

// places are the root and all subordinates.
func (e *Env) places() []string { return append([]string{""}, e.Subordinates...) }

// fill writes one file into each place below dir.
func (e *Env) fill(t *testing.T, dir, text string) {
	t.Helper()
	for _, p := range e.places() {
		write(t, filepath.Join(dir, p, "content"), text+" "+p)
	}
}

func (e *Env) wantFilled(t *testing.T, dir, text string) {
	t.Helper()
	for _, p := range e.places() {
		wantFile(t, filepath.Join(dir, p, "content"), text+" "+p)
	}
}
