package nspawn

import "testing"

// What systemctl cat says of Debian 12's service with beadm's drop-in for guests.
const debian12 = `# /lib/systemd/system/systemd-nspawn@.service
#  SPDX-License-Identifier: LGPL-2.1-or-later

[Unit]
Description=Container %i

[Service]
# Make sure the DeviceAllow= lines below can properly resolve the 'block-loop' expression (and others)
ExecStart=systemd-nspawn --quiet --keep-unit --boot --link-journal=try-guest --network-veth -U --settings=override --machine=%i
KillMode=mixed
Type=notify

# /etc/systemd/system/systemd-nspawn@.service.d/beadm.conf
[Unit]
Wants=beadm-guests.service
`

func TestNamesRoot(t *testing.T) {
	const command = "systemd-nspawn --quiet --keep-unit --boot --link-journal=try-guest --network-veth -U --settings=override --machine=%i"
	for _, c := range []struct{ name, cat, want string }{
		{"Debian 12", debian12, command + ` "--directory=/var/lib/machines/a"`},
		{"an administrator's", debian12 + "[Service]\nExecStart=\nExecStart=/usr/bin/systemd-nspawn --boot \\\n# theirs\n  --machine=%i\n", `/usr/bin/systemd-nspawn --boot    --machine=%i "--directory=/var/lib/machines/a"`},
		{"names it", "[Service]\nExecStart=systemd-nspawn -b -D /x\n", ""},
		{"names it, too", "[Service]\nExecStart=systemd-nspawn -b --directory=/x\n", ""},
		{"another section", "[Unit]\nExecStart=systemd-nspawn\n[Service]\nExecStart = @systemd-nspawn -b\n", `@systemd-nspawn -b "--directory=/var/lib/machines/a"`},
	} {
		got, err := namesRoot(c.cat, "/var/lib/machines/a")
		want := c.want
		if want != "" {
			want = "# By beadm: the root is read-only, and what is mounted in it is not to be.\n[Service]\nExecStart=\nExecStart=" + want + "\n"
		}
		if got != want || err != nil {
			t.Errorf("%s: %v\n%s\nnot\n%s", c.name, err, got, want)
		}
	}
	for name, cat := range map[string]string{
		"none":    "[Service]\nType=notify\n",
		"two":     debian12 + "[Service]\nExecStart=systemd-nspawn\n",
		"a shell": "[Service]\nExecStart=/bin/sh -c 'systemd-nspawn -b'\n",
	} {
		if got, err := namesRoot(cat, "/x"); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got, _ := namesRoot(debian12, `/a "%$\`); got[len(got)-len(` "--directory=/a \"%%$$\\"`)-1:] != ` "--directory=/a \"%%$$\\"`+"\n" {
		t.Errorf("quoted: %s", got)
	}
}
