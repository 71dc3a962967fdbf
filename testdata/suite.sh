#!/bin/sh
# suite.sh native|vm runs the suites, a line each with its seconds, and ends with
# their number. What a failed suite printed follows its line.
#
# The native ones go two at a time, in mount name spaces of their own: a container
# holds all that is mounted when it starts, and would keep another suite's disks.
set -u
: "${GO:=go}"
which=${1:?native or vm}
if [ "$(id -u)" != 0 ]; then
	echo "the $which suites mount file systems: run them as root" >&2
	exit 1
fi
# suite NAME COMMAND... runs one and prints its line in one piece.
suite() {
	name=$1
	shift
	out=$(mktemp) said=$(mktemp)
	start=$(date +%s)
	if "$@" >"$out" 2>&1; then
		word=ok
	else
		word=FAIL
	fi
	{
		printf '%-4s %4ds  %s\n' "$word" $(($(date +%s) - start)) "$name"
		if [ $word = FAIL ]; then
			# What the tests themselves said first: the rest may be pages long.
			grep -E -A 3 '_test\.go:[0-9]+: ' "$out" | cut -c 1-300 | tail -n 200
			echo "   --- its last lines:"
			tail -n 80 "$out"
		fi
		# Where the minutes go.
		grep -hE '^ *--- PASS.*\(([6-9][0-9]|[0-9]{3,})\.[0-9]+s\)' "$out" | sed 's/^ */     /' || :
		# Never a silent skip.
		grep -hE '^ *--- SKIP|^SKIPPED' "$out" || :
	} >"$said"
	flock "$results" cat "$said"
	echo $word >>"$results"
	rm -f "$out" "$said"
}
packages() {
	for pkg; do
		suite "$pkg" $GO test -count=1 -timeout 25m "$pkg"
	done
}
if [ "$which" = packages ]; then # in a name space of its own
	shift
	packages "$@"
	exit 0
fi
# lane has them run one after the other, beside another lane.
lane() {
	unshare -m sh "$0" packages "$@" && return
	echo "FAIL        a row of suites ended before its end"
	echo FAIL >>"$results"
}
results=$(mktemp)
export results GO
trap 'rm -f "$results"' EXIT
case $which in
native)
	suite "vet linux" $GO vet ./...
	suite "vet freebsd" env GOOS=freebsd $GO vet ./...
	suite "vet illumos" env GOOS=illumos $GO vet ./...
	suite "vet bench, vm" $GO vet -tags bench,vm ./...
	suite "formatted" env GO="$GO" sh -c 'test -z "$("$($GO env GOROOT)/bin/gofmt" -l $(git ls-files "*.go"))"'
	program=$($GO list ./cmd/beadm)
	lane "$program" &
	lane $($GO list ./... | grep -vx "$program") &
	wait
	suite "demo" bash testdata/demo/run.sh
	;;
vm)
	limit=60m
	[ -z "${BEADM_LONG-}" ] || limit=360m
	for pkg in $($GO list -tags vm -f '{{if .TestGoFiles}}{{.ImportPath}} {{.TestGoFiles}}{{end}}{{if .XTestGoFiles}} {{.ImportPath}} {{.XTestGoFiles}}{{end}}' ./... | grep '_vm_test.go' | cut -d' ' -f1 | sort -u); do
		suite "$pkg (vm)" env BEADM_VM=1 $GO test -tags vm -count=1 -timeout $limit -run VM -v "$pkg"
	done
	;;
esac
passed=$(grep -cx ok "$results")
failed=$(grep -cx FAIL "$results")
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
