#!/bin/sh
# fuzz.sh runs every fuzz target of the tree, FUZZTIME (1m) each. What fails one
# is kept below testdata/fuzz of its package, and is a test from then on.
set -u
: "${GO:=go}"
failed=0
for file in $(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' "$file"); do
		echo "$(dirname "$file") $target"
		$GO test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-1m}" -fuzzminimizetime 100x "./$(dirname "$file")" || failed=$((failed + 1))
	done
done
[ $failed = 0 ] || { echo "$failed failed" >&2; exit 1; }
