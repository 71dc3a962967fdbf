package left

import (
	"path"
	"strings"
	"testing"
)

// A row says which paths, each once, and why.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range append(append([]Row{}, Passing...), Minor...) {
		words := strings.Fields(row.Paths)
		if len(words) == 0 || strings.Join(words, " ") != row.Paths || row.Why == "" || strings.HasSuffix(row.Why, ".") {
			t.Errorf("%+v", row)
		}
		for _, p := range words {
			if seen[p] || strings.Contains(p, "/") && (!strings.HasPrefix(p, "/") || path.Clean(p) != p) {
				t.Errorf("%q in %+v", p, row)
			}
			seen[p] = true
		}
	}
	// compile has read them all, or the package would not have started.
	if len(passing.paths) == 0 || len(passing.globs) == 0 || len(minor.globs) == 0 {
		t.Error("a table is empty")
	}
}

// passed as the walk asks: about each directory on the way.
func passed(p string) bool { return passing.covers(p) }

func TestWhatIsSaid(t *testing.T) {
	for _, c := range []struct {
		path  string
		says  bool
		data  bool
		place string
	}{
		{"/home/alice/letter", true, true, "/home/alice"},
		{"/home/alice/.bash_history", false, false, ""},
		{"/home/alice/.cache/x/y", false, false, ""},
		{"/home/alice/work/.bash_history", true, true, "/home/alice"},
		{"/home/alice/.ssh/known_hosts.old", true, false, "/home/alice"},
		{"/home/alice/.ssh/id_rsa", true, true, "/home/alice"},
		{"/root/x", true, true, "/root/x"},
		{"/srv/www/a/b", true, true, "/srv/www"},
		{"/srv/file", true, true, "/srv/file"},
		{"/data/x/y/z", true, true, "/data/x"},
		{"/file", true, true, "/file"},
		{"/swapfile", false, false, ""},
		{"/var/lib/postgresql/15/main/x", true, true, "/var/lib/postgresql"},
		{"/var/lib/docker/overlay2/x", true, true, "/var/lib/docker"},
		{"/var/lib/dpkg/status", false, false, ""},
		{"/var/lib/dpkgx/status", true, true, "/var/lib/dpkgx"},
		{"/var/lib/systemd/timers/x", false, false, ""},
		{"/var/lib/systemd/timesync/clock", false, false, ""},
		{"/var/lib/systemd/catalog/database", false, false, ""},
		{"/var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants/x", false, false, ""},
		{"/var/lib/systemd/coredump/core.x.zst", true, false, "/var/lib/systemd"},
		{"/var/lib/systemd/linger/alice", true, true, "/var/lib/systemd"},
		{"/var/lib/systemd/credential.secret", true, true, "/var/lib/systemd"},
		{"/var/lib/tpm2-tss/system/keystore/P_ECCP256SHA256/HS/SRK/mykey/object.json", true, true, "/var/lib/tpm2-tss"},
		{"/var/backups/mysql/shop.sql.gz", true, true, "/var/backups/mysql"},
		{"/var/backups/dpkg-made/shop.sql", true, true, "/var/backups/dpkg-made"},
		{"/var/backups/shop.bak", true, true, "/var/backups/shop.bak"},
		{"/var/backups/dpkg.status.0", false, false, ""},
		{"/var/backups/dpkg.status.1.gz", false, false, ""},
		{"/var/backups/apt.extended_states.0", false, false, ""},
		{"/var/backups/alternatives.tar.0", false, false, ""},
		{"/var/backups/gshadow.bak", false, false, ""},
		{"/var/spool/rsyslog/fwd_queue.00000001", true, true, "/var/spool/rsyslog"},
		{"/var/lib/apache2/md/accounts/ACME/key.pem", true, true, "/var/lib/apache2"},
		{"/var/lib/apache2/module/enabled_by_maint/ssl", false, false, ""},
		{"/var/lib/nginx/webdav/report.doc", true, true, "/var/lib/nginx"},
		{"/var/lib/nginx/body/0000000001", false, false, ""},
		{"/var/lib/sss/secrets/secrets.ldb", true, true, "/var/lib/sss"},
		{"/var/lib/sss/db/cache_x.ldb", false, false, ""},
		{"/var/lib/misc/dnsmasq.leases", true, false, "/var/lib/misc"},
		{"/var/mail/alice", true, true, "/var/mail/alice"},
		{"/var/spool/postfix/deferred/1/1A", true, true, "/var/spool/postfix"},
		{"/var/spool/postfix/private/smtp", false, false, ""},
		{"/var/log/a/b", true, false, "/var/log"},
		{"/var/tmp/x", false, false, ""},
		{"/etc/nginx/sites-enabled/x", true, false, "/etc/nginx"},
		{"/etc/ssl/certs/1a2b3c4d.0", false, false, ""},
		{"/etc/ssl/certs/ours.pem", true, false, "/etc/ssl"},
		{"/etc/rc3.d/S01x", false, false, ""},
		{"/usr/local/bin/tool", true, false, "/usr/local/bin"},
		{"/usr/lib/python3/dist-packages/x/__pycache__/y.pyc", false, false, ""},
		{"/boot/initrd.img-6", false, false, ""},
		{"/home/.snapshots/1/snapshot/x", false, false, ""},
		{"/proc/1/x", false, false, ""},
	} {
		if got := !passed(c.path); got != c.says {
			t.Errorf("%s is reported: %t", c.path, got)
			continue
		}
		if !c.says {
			continue
		}
		if place, data := placeOf(c.path); place != c.place || data != c.data {
			t.Errorf("%s is %s %t, wanted %s %t", c.path, place, data, c.place, c.data)
		}
	}
}

func TestPlacesAreFew(t *testing.T) {
	f := found{}
	for i := range 3 * mostPlaces {
		f.add("/home/"+strings.Repeat("x", i%100)+strings.Repeat("y", i/100)+"/file", 1)
	}
	total := 0
	list := f.sorted()
	for _, p := range list {
		total += p.Files
	}
	if len(list) > mostPlaces+1 || total != 3*mostPlaces || !strings.HasPrefix(list[0].String(), "/home (") {
		t.Errorf("%d places, %d files, first %s", len(list), total, list[0])
	}
}
