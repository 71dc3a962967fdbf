# mirror.sh is sourced: where Debian's packages come from, and how a root is
# made of them. BEADM_DEBIAN_MIRROR and BEADM_DEBIAN_SECURITY name mirrors.
# In the roots that are made there is no other.
export TMPDIR=/tmp
: "${BEADM_DEBIAN_MIRROR:=http://deb.debian.org/debian}"
: "${BEADM_DEBIAN_SECURITY:=http://deb.debian.org/debian-security}"

sources() {
	echo "deb $BEADM_DEBIAN_MIRROR bookworm main contrib"
	echo "deb $BEADM_DEBIAN_MIRROR bookworm-updates main contrib"
	echo "deb $BEADM_DEBIAN_SECURITY bookworm-security main contrib"
}

# bootstrap DIR "PACKAGES" [mmdebstrap arguments]
bootstrap() {
	dir=$1 packages=$2
	shift 2
	sources | mmdebstrap ${BEADM_VM_VERBOSE---quiet} --mode=root --variant=apt --format=directory \
		--include="$packages" \
		--aptopt='Acquire::Languages "none"' \
		--aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		"$@" bookworm "$dir" -
}
