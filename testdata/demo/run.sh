#!/usr/bin/env bash
# The demonstration: a real Debian on a scratch btrfs is patched in a clone
# while it works, tried, confirmed, rolled back, and left again when it fails.
# It is started as an nspawn machine, and a stub takes the boot loader's part.
# What it says is checked. It leaves nothing behind, also when interrupted.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$here/../../.build/beadm")
[ "$(id -u)" = 0 ] || { echo "the demonstration mounts file systems: run it as root" >&2; exit 1; }

machine= leader= uuid= failed=0 held=0 mails=0 lines=0 title= over=
work=$(mktemp -d /var/tmp/beadm-demo.XXXXXX)
root=$work/root top=$work/top loader=$work/loader name=${work##*/}
clean() {
	local status=$?
	trap '' INT TERM HUP
	case $status in
	0 | 130) ;;
	*) [ -n "$over" ] || echo "stopped with status $status in: $title" >&2 ;;
	esac
	set +e
	poweroff
	for dir in "$root" "$top"; do
		while mountpoint -q "$dir"; do umount -R "$dir" 2>/dev/null || umount -R -l "$dir"; done
	done
	if [ -n "$uuid" ]; then
		findmnt -rno TARGET | grep "^/run/beadm/$uuid" | sort -r | while read -r at; do umount -R -l "$at"; done
		rm -rf --one-file-system "/run/beadm/$uuid"
	fi
	# The kernel lets go of a machine that was killed in its own time.
	for _ in $(seq 50); do
		[ -n "$(losetup -j "$work/disk.img")" ] || break
		sleep 0.1
	done
	rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'echo; echo interrupted >&2; exit 130' INT TERM HUP

now() { echo "${EPOCHREALTIME/./}"; }
since() { awk -v us=$(($(now) - $1)) 'BEGIN { printf "%.1f s", us / 1e6 }'; }
step() {
	[ -z "${started-}" ] || echo "   $(since "$started")"
	started=$(now) title=$1
	printf '\n== %s\n' "$title"
}
# claim TEXT COMMAND...: the command must succeed.
claim() {
	local text=$1 said
	shift
	if said=$("$@" 2>&1); then
		held=$((held + 1))
		echo "   ok    $text"
	else
		failed=$((failed + 1))
		printf '   FAIL  %s\n%s\n' "$text" "$said"
	fi
}
claim_not() {
	local text=$1
	shift
	claim "$text" not "$@"
}
not() { ! "$@"; }
is() { [ "$1" = "$2" ] || { echo "it is '$1', not '$2'"; return 1; }; }
says() { # PATTERN COMMAND...
	local out
	out=$("${@:2}" 2>&1) || :
	grep -q -- "$1" <<<"$out" || { printf 'no "%s" in:\n%s\n' "$1" "$out"; return 1; }
}
refuses() { # STATUS PATTERN COMMAND...
	local out rc=0
	out=$("${@:3}" 2>&1) || rc=$?
	[ "$rc" = "$1" ] && grep -q -- "$2" <<<"$out" || { printf 'status %s, and:\n%s\n' "$rc" "$out"; return 1; }
}
beadm() { "$program" --root "$root" "$@"; }
show() {
	echo "   # beadm $*"
	beadm "$@" 2>&1 | sed 's/^/     /'
}

# The machine, and what is done in it as its administrator would.
poweron() {
	# In a session of its own: a signal of the terminal is for this script, which
	# ends the machine. Of a dead nspawn's machine nobody knows.
	setsid systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --machine="$name" --directory="$root" --console=pipe </dev/null >"$work/console" 2>&1 &
	machine=$!
	for _ in $(seq 600); do
		if ! kill -0 "$machine" 2>/dev/null; then
			wait "$machine" || :
			machine= leader=
			return 1
		fi
		leader=$(process1)
		if [ -n "$leader" ] && [ "$(inside systemctl is-active multi-user.target 2>/dev/null)" = active ]; then return 0; fi
		sleep 0.1
	done
	return 1
}
comeup() {
	poweron || { echo "   FAIL  it does not come up:"; tail -n 30 "$work/console"; exit 1; }
}
# process1 is the machine's, and never a process of the host: what is done
# inside must not be done there.
process1() {
	local p
	for p in $(pgrep -P "$machine"); do
		[ "$(readlink "/proc/$p/ns/pid")" = "$(readlink /proc/self/ns/pid)" ] || { echo "$p"; return; }
	done
}
inside() { nsenter --target "${leader:?}" --all --wdns=/ -- "$@"; }
# login USER PASSWORD, as somebody else who types them.
login() { inside runuser -u nobody -- sh -c 'echo "$2" | su "$1" -c id' sh "$@"; }
shutdown() {
	kill -s RTMIN+3 "$leader"
	wait "$machine" || :
	machine= leader=
	count
}
poweroff() { # as a power cut does
	[ -n "$machine" ] || return 0
	: "${leader:=$(process1)}"
	kill -9 "$machine" $leader 2>/dev/null || :
	wait "$machine" 2>/dev/null || :
	# What nspawn takes away itself unless it is killed.
	rm -f "/run/systemd/nspawn/locks/inode-$(stat -c %d:%i "$root")"
	rmdir "/run/systemd/nspawn/propagate/$name" 2>/dev/null || :
	machine= leader=
}
# count notes what was written until the machine stopped.
count() {
	mails=$(wc -l <"$root/var/mail/alice")
	lines=$(wc -l <"$root/var/log/app.log")
}
# load plays what is between power-on and the first service: the loader takes
# the token and chooses a root, and beadm boot prepares it. 14: not this one.
load() {
	local subvolume rc=0
	# The processes of a machine whose power was cut end in their own time.
	within 10 umount -R "$root"
	read -r subvolume chosen kind < <("$program" stub-consume "$loader")
	mount -o loop,subvol="$subvolume" "$work/disk.img" "$root"
	beadm boot || rc=$?
	case $rc in
	0) echo "   the loader chose $chosen ($kind)" ;;
	14) load ;;
	*) return $rc ;;
	esac
}
# all_once FILE N: it has at least N lines, numbered from 1, each there once.
all_once() {
	awk -v n="$2" '$2 != NR && !bad { bad = 1; print "line " NR " is: " $0 } END { print NR " lines of " n; exit bad || NR < n }' "$1"
}
all_mail() { all_once "$root/var/mail/alice" "$mails"; }
within() { # SECONDS COMMAND...
	local i
	for i in $(seq $(($1 * 10))); do
		if "${@:2}" 2>/dev/null; then return 0; fi
		sleep 0.1
	done
	"${@:2}"
}

began=$(now)
step "a Debian, from its packages"
archive=$(sh "$here/cached.sh")

step "on a btrfs of its own, with beadm and a loader"
truncate -s 4G "$work/disk.img"
mkfs.btrfs -q "$work/disk.img" >/dev/null
mkdir "$root" "$top" "$loader"
mount -o loop "$work/disk.img" "$top"
uuid=$(findmnt -no UUID "$top")
btrfs -q subvolume create "$top/@debian"
tar -C "$top/@debian" -xf "$archive"
mount -o loop,subvol=@debian "$work/disk.img" "$root"
beadm setup --loader stub --loader-dir "$loader" --binary "$program"
beadm share init | sed 's/^/   /'
load
comeup
claim "Debian runs" inside systemctl is-active mailer.service cron.service
claim "alice, bob and dave log in" eval 'login alice alice-old && login bob bob-old && login dave dave-old'
claim "its mail is in the shared data" is "$(readlink "$root/var/mail")" share/mail
show list

step "the clone is patched while the machine works"
show upgrade new -- sh -c 'apt-get install -y -qq /usr/share/demo/*.deb && echo patched >/etc/motd' >"$work/upgrade" || { cat "$work/upgrade"; exit 1; }
sed -n '1p' "$work/upgrade"
grep 'Setting up postfix' "$work/upgrade"
claim "postfix is in new" test -x "$top/@be-new/usr/sbin/postfix"
claim_not "it is not in the running system" test -e "$root/usr/sbin/postfix"
claim_not "nor its user" grep postfix "$root/etc/passwd"
claim_not "nor its spool" test -e "$root/var/spool/postfix"
claim "the machine still works" inside systemctl is-active mailer.service

step "meanwhile: a lock, a password, a new user, one less; activate; another password"
inside usermod -L alice
inside sh -c 'echo bob:bob-new | chpasswd'
inside useradd -m carol
inside userdel dave
claim "carol's home would be left behind, and activate refuses that" refuses 5 /home/carol beadm activate new
show activate --leave-behind new
inside sh -c 'echo carol:carol-new | chpasswd'
claim "one trial is armed" says '^state: *armed' beadm status

step "reboot: the trial"
down=$(now)
shutdown
load
comeup
echo "   down for $(since "$down")"
claim "new runs" is "$chosen $kind" "new trial"
claim "postfix's user and spool are there" inside sh -c 'getent passwd postfix && test -d /var/spool/postfix/maildrop'
inside sh -c 'echo hello | sendmail -f alice carol@localhost'
claim "postfix works: it delivers a mail to carol" within 10 grep -q hello "$root/var/mail/carol"
claim "alice is locked" says '^alice L' inside passwd -S alice
claim_not "and cannot log in" login alice alice-old
claim "bob logs in with his new password" login bob bob-new
claim_not "and not with the old one" login bob bob-old
claim "carol logs in with the password set after activate" login carol carol-new
claim_not "dave, who was removed, does not" login dave dave-old
claim "all mail is there, each once" all_mail
claim "and each log line" all_once "$root/var/log/app.log" "$lines"
claim "the spool is there" grep -q 'a job' "$root/var/spool/jobs/1"
claim "the shared data has its snapshot of the switch" says varshare find "$top" -maxdepth 3 -name '*beadm-*'
claim "all units run" within 20 inside systemctl is-system-running
show confirm
claim "confirmed: new is the default" says '^default: *new' beadm status

step "rollback"
inside sh -c 'echo bob:bob-newest | chpasswd'
show rollback
shutdown
load
comeup
claim "the old system runs" is "$chosen $kind" "debian default"
claim_not "without the package" test -e "$root/usr/sbin/postfix"
claim_not "and without its change in /etc" grep patched "$root/etc/motd"
claim "with all mail" all_mail
claim "carol's too" grep hello "$root/var/mail/carol"
claim "bob logs in with the password set meanwhile" login bob bob-newest
claim_not "alice still cannot" login alice alice-old
claim "the journal of all boots is there" within 10 eval 'is "$(inside journalctl --list-boots -q | wc -l)" 3'

step "failback: the trial's init dies"
beadm create broken
mkdir "$work/broken.mnt"
beadm mount broken "$work/broken.mnt" >/dev/null
printf '#!/bin/sh\nexit 1\n' >"$work/broken.mnt/usr/lib/systemd/systemd"
beadm unmount broken
rmdir "$work/broken.mnt"
beadm activate broken
shutdown
load
claim "broken is tried" is "$chosen $kind" "broken trial"
up=yes
poweron || up=no
claim "and does not come up" is $up no
load
comeup
claim "the old system runs again, with no hand on it" is "$chosen $kind" "debian default"
claim "status says what failed, when and why" says "^FAILED:.*trial of broken at $(date +%Y)-.* reset before it was confirmed" beadm status
show status
beadm status --acknowledge

step "failback: power is cut in the trial"
beadm activate new
shutdown
load
comeup
claim "new is tried" is "$chosen $kind" "new trial"
inside usermod -L bob
poweroff
count
load
comeup
claim "the old system runs again" is "$chosen $kind" "debian default"
claim "status says so" says '^FAILED:.*trial of new' beadm status
claim "bob, locked in the failed trial, is locked" says '^bob L' inside passwd -S bob
claim "all mail is there, each once" all_mail
shutdown

echo "   $(since "$started")"
printf '\n%s claims held, %s did not; %s in all\n' "$held" "$failed" "$(since "$began")"
over=yes
exit $((failed > 0))
