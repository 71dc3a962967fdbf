package synclist

// What a running system changes in its own root without a package manager,
// and what a machine must not lose when it changes its root: accounts, keys
// it is known by, who may become root, scheduled jobs, and what daemons write
// about network and time. Everything else is for the administrator's list.
//
// Account files stand as MERGE: they are merged by record whatever is said
// here but OVERWRITE! and KEEP.

const builtinLinux = `
/etc/passwd MERGE
/etc/shadow MERGE
/etc/group MERGE
/etc/gshadow MERGE
/etc/subuid MERGE
/etc/subgid MERGE
/etc/security/opasswd OVERWRITE
/etc/sudoers MERGE
/etc/sudoers.d MERGE
/root/.ssh/authorized_keys MERGE
/root/.ssh/authorized_keys2 MERGE
/etc/ssh/ssh_host_* OVERWRITE
/etc/beadm MERGE
/etc/systemd/system/beadm-guests.service MERGE
/etc/systemd/system/multi-user.target.wants/beadm-guests.service MERGE
/etc/systemd/system/systemd-nspawn@.service.d/beadm.conf MERGE
/etc/systemd/system/systemd-nspawn@*.service.d/beadm-root.conf MERGE
/etc/systemd/system/lxc.service.d/beadm.conf MERGE
/etc/systemd/system/lxc@.service.d/beadm.conf MERGE
/etc/machine-id OVERWRITE
/etc/hostname OVERWRITE
/etc/hostid OVERWRITE
/etc/aliases OVERWRITE
/etc/aliases.db OVERWRITE
/var/spool/cron MERGE
/var/spool/anacron OVERWRITE
/etc/resolv.conf OVERWRITE
/etc/NetworkManager/system-connections MERGE
/var/lib/NetworkManager/secret_key OVERWRITE
/var/lib/dhcp OVERWRITE
/etc/localtime OVERWRITE
/etc/timezone OVERWRITE
/etc/adjtime OVERWRITE
/var/lib/chrony/drift OVERWRITE
/var/lib/ntp/ntp.drift OVERWRITE
/var/lib/ntpsec/ntp.drift OVERWRITE
`

// /etc/passwd and the .db files are made from master.passwd (pwd_mkdb(8)).
const builtinFreeBSD = `
/etc/master.passwd MERGE
/etc/group MERGE
/usr/local/etc/sudoers MERGE
/usr/local/etc/sudoers.d MERGE
/root/.ssh/authorized_keys MERGE
/etc/ssh/ssh_host_* OVERWRITE
/etc/beadm MERGE
/etc/hostid OVERWRITE
/etc/machine-id OVERWRITE
/etc/mail/aliases OVERWRITE
/etc/mail/aliases.db OVERWRITE
/var/cron/tabs MERGE
/var/at/jobs MERGE
/etc/resolv.conf OVERWRITE
/var/db/dhclient.leases.* OVERWRITE
/etc/localtime OVERWRITE
/var/db/zoneinfo OVERWRITE
/etc/wall_cmos_clock OVERWRITE
/var/db/ntpd.drift OVERWRITE
`

// Live Upgrade's shipped list, and what came after it.
const builtinIllumos = `
/etc/passwd MERGE
/etc/shadow MERGE
/etc/group MERGE
/etc/user_attr MERGE
/etc/opasswd OVERWRITE
/etc/oshadow OVERWRITE
/etc/pwhist OVERWRITE
/etc/default/passwd OVERWRITE
/etc/dfs OVERWRITE
/etc/sudoers MERGE
/etc/sudoers.d MERGE
/root/.ssh/authorized_keys MERGE
/etc/ssh/ssh_host_* OVERWRITE
/etc/beadm MERGE
/etc/mail/aliases OVERWRITE
/etc/mail/aliases.* OVERWRITE
/var/spool/cron/crontabs MERGE
/var/spool/cron/atjobs MERGE
/etc/resolv.conf OVERWRITE
/etc/nodename OVERWRITE
/etc/rtc_config OVERWRITE
/var/ntp/ntp.drift OVERWRITE
`

// Builtin is the list that always applies first, by GOOS.
func Builtin(goos string) List {
	text := builtinLinux
	switch goos {
	case "freebsd":
		text = builtinFreeBSD
	case "illumos", "solaris":
		text = builtinIllumos
	}
	list, err := Parse("built-in", []byte(text))
	if err != nil {
		panic(err) // a test parses all three
	}
	for i := range list.Rules {
		list.Rules[i].Line = 0
	}
	return list
}
