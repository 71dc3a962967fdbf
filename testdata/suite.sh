#!/bin/sh
# suite.sh native|vm runs the suites one by one, a line each with its seconds,
# and ends with their number. What a failed suite printed follows its line.
set -u
: "${GO:=go}"
which=${1:?native or vm}
if [ "$(id -u)" != 0 ]; then
	echo "the $which suites mount file systems: run them as root" >&2
	exit 1
fi
passed=0 failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
suite() {
	name=$1
	shift
	start=$(date +%s)
	if "$@" >"$out" 2>&1; then
		passed=$((passed + 1)) word=ok
	else
		failed=$((failed + 1)) word=FAIL
	fi
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
}
case $which in
native)
	suite "vet linux" $GO vet ./...
	suite "vet freebsd" env GOOS=freebsd $GO vet ./...
	suite "vet illumos" env GOOS=illumos $GO vet ./...
	suite "vet bench, vm" $GO vet -tags bench,vm ./...
	suite "formatted" env GO="$GO" sh -c 'test -z "$("$($GO env GOROOT)/bin/gofmt" -l $(git ls-files "*.go"))"'
	for pkg in $($GO list ./...); do
		suite "$pkg" $GO test -count=1 -timeout 20m "$pkg"
	done
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
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed != 0 ]
