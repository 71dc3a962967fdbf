#!/bin/sh
# cached.sh prints where the archive that root.sh makes is, and makes it once.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${BEADM_DEMO_CACHE:-/var/cache/beadm-demo}
key=$(cat "$here/root.sh" "$here/../vm/mirror.sh" | sha256sum | cut -c 1-16)
mkdir -p "$cache"
if [ ! -e "$cache/$key.tar" ]; then
	rm -f "$cache"/*.tar*
	sh "$here/root.sh" "$cache/$key.tar" >&2
fi
echo "$cache/$key.tar"
