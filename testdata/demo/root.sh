#!/bin/sh
# root.sh OUT makes OUT, the archive of a small real Debian with systemd, from
# Debian's packages. It holds the packages that the demonstration installs,
# which then needs no network. It has no kernel: a guest runs its host's.
set -eu
out=$1
. "$(dirname "$0")/../vm/mirror.sh"
work=$(mktemp -d /var/tmp/beadm-demo-root.XXXXXX)
trap 'rm -rf --one-file-system "$work" "$out.$$"' EXIT
trap 'exit 130' INT TERM HUP
root=$work/root
bootstrap "$root" "systemd-sysv dbus cron adduser passwd login procps" --aptopt='Acquire::Retries "5"'

sources >"$root/etc/apt/sources.list"
chroot "$root" apt-get update -qq
mkdir -p "$root/usr/share/demo/partial"
chroot "$root" apt-get install -y -qq --no-install-recommends --download-only -o Dir::Cache::archives=/usr/share/demo postfix >/dev/null
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
: >"$root/etc/apt/sources.list"

printf 'postfix postfix/main_mailer_type select Local only\npostfix postfix/mailname string demo\n' | chroot "$root" debconf-set-selections

echo demo >"$root/etc/hostname"
printf '127.0.0.1 localhost demo\n' >"$root/etc/hosts"
: >"$root/etc/fstab"
for u in alice bob dave; do chroot "$root" useradd -m -s /bin/bash -p "$(openssl passwd -6 "$u-old")" $u; done

# A mailer that never rests: one mail and one log line after the other, each
# with the next number.
cat >"$root/usr/local/bin/mailer" <<'M'
#!/bin/sh
n=$(($(tail -n 1 /var/mail/alice | sed 's/.* //') + 0))
m=$(($(tail -n 1 /var/log/app.log | sed 's/.* //') + 0))
while sleep 0.1; do
	n=$((n + 1)) m=$((m + 1))
	echo "mail $n" >>/var/mail/alice
	echo "line $m" >>/var/log/app.log
done
M
chmod 755 "$root/usr/local/bin/mailer"
cat >"$root/etc/systemd/system/mailer.service" <<'U'
[Service]
ExecStart=/usr/local/bin/mailer
[Install]
WantedBy=multi-user.target
U
echo "mail 1" >"$root/var/mail/alice"
chroot "$root" chown alice:mail /var/mail/alice
chmod 660 "$root/var/mail/alice"
echo "line 1" >"$root/var/log/app.log"
mkdir -p "$root/var/log/journal" "$root/var/spool/jobs"
echo "a job" >"$root/var/spool/jobs/1"
chroot "$root" systemctl -q enable mailer.service
# A guest has neither its own clock nor its own terminals.
chroot "$root" systemctl -q mask getty@tty1.service console-getty.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer \
	dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-networkd.service systemd-resolved.service
tar -C "$root" --numeric-owner --xattrs --acls -cf "$out.$$" .
mv "$out.$$" "$out"
