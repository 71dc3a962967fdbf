#!/bin/sh
# bench.sh prints a line of JSON for each matter that is measured, natively on
# btrfs and on ZFS in the VM, and fails when a bound is passed. BEADM_BENCH_VM=0
# leaves out the latter.
set -u
: "${GO:=go}"
if [ "$(id -u)" != 0 ]; then
	echo "the benchmarks mount file systems: run them as root" >&2
	exit 1
fi
status=0
results=$(mktemp)
trap 'rm -f "$results"' EXIT
export BEADM_BENCH=$results
$GO test -tags bench -count=1 -timeout 60m -v -run "^TestBench" ./cmd/beadm ./be/zfs >&2 || status=1
if [ "${BEADM_BENCH_VM-}" = 0 ]; then
	echo "SKIPPED: what is measured in the VM" >&2
else
	BEADM_VM=1 BEADM_LONG=1 $GO test -tags vm -count=1 -timeout 40m -run '^TestVMTime$' ./activate >&2 || status=1
fi
cat "$results"
exit $status
