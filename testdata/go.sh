#!/bin/sh
# go.sh prints the path of a Go that go.mod accepts: $GO, one that is
# installed, or else one from the Go module proxy, put into the user's cache.
# Debian 12's own is 1.19.
set -eu
mod=$(dirname "$0")/../go.mod
want=$(sed -n 's/^go //p' "$mod")
# What sum.golang.org says of golang.org/toolchain@v0.0.1-go$want.linux-*.
known="amd64 h1:oPC9yECkA1xwFfkEB5H9B9GDchhCH79d2Y7l4ybHXF0=
arm64 "

# 1.21 and later fetch what go.mod asks for by themselves, unless told not to.
accepts() {
	command -v "$1" >/dev/null 2>&1 || return 1
	(cd "$(dirname "$mod")" && "$1" list -m) >/dev/null 2>&1
}
for go in ${GO:+"$GO"} go /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
	if accepts "$go"; then
		command -v "$go"
		exit 0
	fi
done

arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
sum=$(echo "$known" | sed -n "s/^$arch //p")
if [ "$(uname -s)" != Linux ] || [ -z "$sum" ]; then
	echo "no Go that go.mod accepts: install Go $want or later, or name one: make GO=/path/to/go" >&2
	exit 1
fi
name=golang.org/toolchain@v0.0.1-go$want.linux-$arch
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/beadm
home=$cache/$name
if accepts "$home/bin/go"; then
	echo "$home/bin/go"
	exit 0
fi
proxy=${GOPROXY:-https://proxy.golang.org}
proxy=${proxy%%[,|]*}
echo "no Go that go.mod accepts: fetching go$want from $proxy into $cache" >&2
sh "$(dirname "$0")/install-tools.sh" go >&2
mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
curl -fsSL -o "$work/go.zip" "$proxy/golang.org/toolchain/@v/v0.0.1-go$want.linux-$arch.zip"
(cd "$work" && unzip -q go.zip && rm go.zip)
# The hash of Go's checksum database (golang.org/x/mod/sumdb/dirhash, Hash1).
got=h1:$(cd "$work" && find golang.org -type f | LC_ALL=C sort | xargs sha256sum | openssl dgst -sha256 -binary | base64)
if [ "$got" != "$sum" ]; then
	echo "cannot use the Go that $proxy sent: its hash is $got, it should be $sum" >&2
	exit 1
fi
chmod -R a+x "$work/$name/bin" "$work/$name/pkg/tool"
mkdir -p "$(dirname "$home")"
rm -rf "$home"
mv "$work/$name" "$home"
echo "$home/bin/go"
