//go:build linux && vm

package activate_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"beadm/activate/boot/vmtest"
)

// inTurn runs two shell commands in turn, and returns the seconds that each took.
func inTurn(t *testing.T, v *vmtest.VM, pairs int, baseline, ours string) (a, b []float64) {
	t.Helper()
	out := v.Must(long, fmt.Sprintf(`bash -c 'set -e
for i in $(seq %d); do
	t0=$EPOCHREALTIME; { %s; } >/dev/null
	t1=$EPOCHREALTIME; { %s; } >/dev/null
	t2=$EPOCHREALTIME; echo "took $t0 $t1 $t2"
done'`, pairs, baseline, ours))
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != "took" {
			continue
		}
		var at [3]float64
		for i := range at {
			n, err := strconv.ParseFloat(f[i+1], 64)
			must(t, err)
			at[i] = n
		}
		a, b = append(a, at[1]-at[0]), append(b, at[2]-at[1])
	}
	if len(a) != pairs {
		t.Fatalf("of %d pairs it tells %d:\n%s", pairs, len(a), out)
	}
	return a, b
}

// ratios are the median seconds of both, and the ratios of the pairs, sorted.
func ratios(a, b []float64) (baseline, ours float64, list []float64) {
	for i := range a {
		list = append(list, b[i]/a[i])
	}
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	slices.Sort(list)
	return a[len(a)/2], b[len(b)/2], list
}

// TestVMStoreTime: list and create on ZFS beside what zfs itself takes for it.
func TestVMStoreTime(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: it takes long; make test-long and make bench run it")
	}
	v := ready(t, vmtest.NewDisk(t, vmtest.ZFS), program(t))
	v.Must(long, `for i in 1 2 3 4; do zfs create -o canmount=noauto -o mountpoint=/opt/part$i rpool/ROOT/debian/part$i || exit; done; beadm create b1`)
	few := len(children(t, v, "beadm list"))
	v.Must(long, `for i in $(seq 2 19); do beadm create b$i || exit; done; for i in 1 2 3; do zfs snapshot -r rpool/ROOT@daily$i || exit; done`)
	many := len(children(t, v, "beadm list"))
	if many > few {
		t.Errorf("list starts %d programs for 2 boot environments and %d for 20", few, many)
	}
	const pairs, bound = 9, 1.3
	a, b := inTurn(t, v, pairs+1, "zfs list -Hp -t all -r rpool", "beadm list")
	was, is, list := ratios(a[1:], b[1:]) // the first is not counted
	ratio := list[pairs/2]
	if ratio > bound {
		t.Errorf("list takes %.2f times a zfs list", ratio)
	}
	tell(t, map[string]any{
		"name": "list of 20 boot environments with 5 datasets of 3 snapshots each, on ZFS", "baseline": "zfs list -Hp -t all -r of the pool", "pairs": pairs,
		"seconds": is, "baseline_seconds": was, "ratio": ratio, "ratio_spread": []float64{list[0], list[pairs-1]}, "bound_ratio": bound,
		"children": many, "ok": ratio <= bound && many <= few,
	})

	v.Must(long, `for i in $(seq 19); do beadm destroy -F b$i || exit; done
for i in $(seq 5 30); do zfs create -o canmount=noauto -o mountpoint=/opt/part$i rpool/ROOT/debian/part$i || exit; done
zfs snapshot -r rpool/ROOT/debian@base`)
	const creates, createBound = 5, 0.9
	byHand := `zfs snapshot -r rpool/ROOT/debian@hand; zfs clone -o canmount=noauto -o mountpoint=/ rpool/ROOT/debian@hand rpool/ROOT/hand; ` +
		`for i in $(seq 30); do zfs clone -o canmount=noauto rpool/ROOT/debian/part$i@hand rpool/ROOT/hand/part$i; done; zpool sync rpool`
	// What each made goes in the other's turn, which is not measured.
	a, b = nil, nil
	for range creates + 1 {
		v.Must(long, "zpool sync rpool")
		x, y := inTurn(t, v, 1, byHand, "beadm create fast; zpool sync rpool")
		a, b = append(a, x...), append(b, y...)
		v.Must(long, "zfs destroy -r rpool/ROOT/hand; zfs destroy -r rpool/ROOT/debian@hand; beadm destroy -F fast; zpool wait -t free rpool")
	}
	was, is, list = ratios(a[1:], b[1:])
	ratio = list[creates/2]
	if ratio > createBound {
		t.Errorf("create takes %.2f times as long as one zfs clone after another", ratio)
	}
	tell(t, map[string]any{
		"name": "create with 30 nested datasets, on ZFS", "baseline": "zfs snapshot -r and one zfs clone after another", "pairs": creates,
		"seconds": is, "baseline_seconds": was, "ratio": ratio, "ratio_spread": []float64{list[0], list[creates-1]}, "bound_ratio": createBound, "ok": ratio <= createBound,
	})
}
