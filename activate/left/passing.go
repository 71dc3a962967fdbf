package left

import (
	"path"
	"strings"

	"github.com/gobwas/glob"
)

// Row is paths, which stand for all below them too, and why. In them * and ?
// are as in synclist(5); a name without a slash is one anywhere.
type Row struct{ Paths, Why string }

// Passing is what nobody would miss: it is never reported.
var Passing = []Row{
	{"/proc /sys /dev /run /tmp /var/run /var/lock /var/tmp", "lives as long as the boot, or not much longer"},
	{"/var/cache /root/.cache /home/*/.cache", "made again by what uses it"},
	{"/var/.beadm-* /.beadm-old /.beadm-run", "beadm's own: what is staged, what was moved into the shared data"},
	{"/usr/lib/beadm /usr/sbin/beadm /etc/kernel/post*.d/zz-beadm /etc/beadm/init_script /lib/svc/manifest/system/beadm.xml", "beadm itself"},
	{"/boot /usr/lib/modules /lib/modules", "the kernel and what is made for it, by each boot environment for itself"},
	{".zfs .snapshots", "snapshots of what is here"},
	{"/lost+found /swapfile /swap.img /swap", "the file system's and the kernel's own"},
	{"/etc/mtab /etc/ld.so.cache /etc/.pwd.lock /etc/.updated /var/.updated", "worked out by the system"},
	{"/etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-", "last copies of what is carried itself"},
	{"/var/backups/passwd.bak /var/backups/shadow.bak /var/backups/group.bak /var/backups/gshadow.bak /var/backups/subuid.bak /var/backups/subgid.bak", "copies of what is carried itself"},
	{"/var/backups/dpkg.* /var/backups/apt.* /var/backups/aptitude.* /var/backups/alternatives.*", "copies of what is a package manager's"},
	{"/etc/alternatives /etc/rc?.d /usr/share/info/dir", "worked out from what is installed"},
	{"/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/????????.?", "worked out from the certificates that are installed"},
	{"/etc/lvm/archive /etc/lvm/backup /etc/zfs/zpool.cache /etc/zfs/zfs-list.cache", "what is known of the disks at the moment"},
	{"__pycache__ /usr/lib/locale/locale-archive /usr/lib/udev/hwdb.bin /etc/udev/hwdb.bin", "compiled from what is installed"},
	{"/usr/share/mime /usr/share/applications/mimeinfo.cache /usr/share/glib-2.0/schemas/gschemas.compiled", "compiled from what is installed"},
	{"/var/lib/dpkg /var/lib/apt /var/lib/aptitude /var/lib/ucf /var/lib/rpm /var/lib/dnf /var/lib/zypp /var/lib/pacman /var/lib/apk", "a package manager's, about one boot environment"},
	{"/var/lib/PackageKit /var/lib/unattended-upgrades /var/lib/update-notifier /var/lib/command-not-found /var/lib/needrestart", "what was asked of the package manager"},
	{"/var/lib/python /var/lib/pam /var/lib/emacsen-common /var/lib/sgml-base /var/lib/xml-core /var/lib/ghostscript /var/lib/shells.state /var/lib/vim /var/lib/ca-certificates-java /var/lib/apparmor", "worked out from what is installed"},
	{"/var/lib/apache2/conf /var/lib/apache2/module /var/lib/apache2/site /var/lib/apache2/deferred_actions", "which parts of the server were switched on by packages and by hand; the links in /etc/apache2 do it"},
	{"/var/lib/initramfs-tools /var/lib/dkms /var/lib/grub /var/lib/os-prober /var/lib/usbutils", "goes with the kernel or its loader"},
	{"/var/lib/systemd/random-seed /var/lib/systemd/timers /var/lib/systemd/timesync /var/lib/private/systemd/timesync /var/lib/urandom /var/lib/dbus", "random seed, timers, clock: each boot's own"},
	{"/var/lib/systemd/rfkill /var/lib/systemd/backlight /var/lib/systemd/tpm2-srk-public-key.*", "what is known of the machine's devices"},
	{"/var/lib/systemd/catalog /var/lib/systemd/deb-systemd-*", "worked out from what is installed"},
	{"/var/lib/logrotate /var/lib/man-db /var/lib/mlocate /var/lib/plocate /var/lib/sudo /var/lib/popularity-contest", "when something was done last, indexes that are made again"},
	{"/var/lib/dhcpcd /var/lib/dhclient /var/lib/NetworkManager /var/lib/ModemManager", "leases, and what was seen of networks"},
	{"/var/lib/chrony /var/lib/ntp /var/lib/ntpsec", "the clock's drift"},
	{"/var/lib/nfs /var/lib/rpcbind", "mounts of the moment"},
	{"/var/lib/alsa /var/lib/upower /var/lib/fwupd /var/lib/smartmontools", "what is known of the machine's devices"},
	{"/var/lib/postfix /var/lib/haproxy /var/lib/apache2/fastcgi /var/lib/nginx/body /var/lib/nginx/fastcgi /var/lib/nginx/proxy /var/lib/nginx/scgi /var/lib/nginx/uwsgi /var/lib/nginx/tmp", "locks, caches and temporary files of a server"},
	{"/var/lib/sss/db /var/lib/sss/mc /var/lib/sss/pipes /var/lib/sss/pubconf", "what was asked of a directory service, and sockets"},
	{"/var/lib/cloud", "set up anew by the cloud's agent"},
	{"/root/.*_history /root/.lesshst /root/.viminfo /root/.wget-hsts /home/*/.*_history /home/*/.lesshst /home/*/.viminfo /home/*/.wget-hsts", "what was typed and looked at"},
	{"/home/*/.Xauthority /home/*/.ICEauthority /home/*/.sudo_as_admin_successful /root/.Xauthority", "lives as long as a login"},
	{"/var/spool/postfix/pid /var/spool/postfix/private /var/spool/postfix/public /var/spool/postfix/dev /var/spool/postfix/etc /var/spool/postfix/lib /var/spool/postfix/usr", "the mailer's sockets, locks, and copies of the system's files"},
	{"/var/spool/exim4/db /var/spool/exim4/gnutls-params* /var/spool/cron/atspool", "the daemon's own"},
}

// Minor stands where data does, and is reported without refusing anything.
var Minor = []Row{
	{"/root/.ssh/known_hosts* /home/*/.ssh/known_hosts*", "asked for again at the next connection"},
	{"/root/.selected_editor /home/*/.selected_editor /root/.config/htop /home/*/.config/htop /root/.config/mc /home/*/.config/mc", "how a program was used last"},
	{"/var/lib/misc/dnsmasq.leases /var/lib/libvirt/dnsmasq", "asked for again by who had them"},
	{"/var/lib/php/sessions /var/lib/fail2ban /var/lib/snmp", "who was logged in to a site, who was kept out, how often a daemon started"},
	{"/var/lib/systemd/coredump /var/lib/systemd/pstore", "what crashed, and is thrown away after some days"},
}

// table is rows that can be asked.
type table struct {
	paths map[string]bool
	bases map[string]bool
	globs []*glob.Pattern
}

var separators = glob.Compiler{Separators: []rune{'/'}, Globstar: true}

// compile reads rows. They are constants, and a test reads them all.
func compile(rows []Row) table {
	t := table{paths: map[string]bool{}, bases: map[string]bool{}}
	for _, row := range rows {
		for _, p := range strings.Fields(row.Paths) {
			if !strings.Contains(p, "/") {
				t.bases[p] = true
				continue
			}
			if !strings.ContainsAny(p, "*?") {
				t.paths[p] = true
				continue
			}
			g, err := separators.Compile(p)
			if err != nil {
				panic(err)
			}
			t.globs = append(t.globs, g)
		}
	}
	return t
}

// names says whether a row is about p itself.
func (t table) names(p string) bool {
	if t.paths[p] || t.bases[path.Base(p)] {
		return true
	}
	for _, g := range t.globs {
		if g.Match(p) {
			return true
		}
	}
	return false
}

// covers says whether a row is about p or a directory above it.
func (t table) covers(p string) bool {
	for ; p != "/"; p = path.Dir(p) {
		if t.names(p) {
			return true
		}
	}
	return false
}

var passing, minor = compile(Passing), compile(Minor)
