//go:build linux && vm

package activate_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

func containersHost(t *testing.T, payload map[string]string) (*vmtest.Disk, *vmtest.VM) {
	t.Helper()
	return host(t, payload, "lxc", "rpool/lxc", "/var/lib/lxc")
}

// A container that lxc-create made on ZFS: it is taken in, is patched, falls back, is
// on trial when the host's power fails, and is given back.
func TestVMContainers(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; containers are run on btrfs by make test, and machines on ZFS in TestVMGuests")
	}
	t.Parallel()
	began := time.Now()
	say := func(what string) { t.Helper(); t.Logf("%4.0f s: %s", time.Since(began).Seconds(), what) }
	d, v := containersHost(t, map[string]string{"/usr/sbin/beadm": program(t)})
	say("LXC is installed")
	const root = "/var/lib/lxc/c1/rootfs"
	writes := func(file string) {
		t.Helper()
		grows(t, v, root+file, "lxc-info -n c1; lxc-attach -n c1 -- systemctl status")
	}
	v.Must(long, `mkdir -p /etc/beadm
printf 'guest.hold = 2s\nguest.within = 150s\n' >/etc/beadm/beadm.conf
printf 'lxc.include = /usr/share/lxc/config/common.conf\nlxc.net.0.type = empty\nlxc.apparmor.profile = unconfined\nlxc.start.auto = 1\n' >/root/lxc.conf
cat >/root/template <<'T'
#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --rootfs=*) root=${1#*=};; --rootfs) root=$2; shift;; esac; shift; done
tar -C "$root" -xf /dev/vdc && sed -i 's/sleep 0.1/sleep 1/' "$root/usr/local/bin/mailer"
T
chmod 755 /root/template
lxc-create -n c1 -B zfs --zfsroot=rpool/lxc -f /root/lxc.conf -t /root/template`)
	say("a container")

	// LXC mounts its root by itself, until it is told where it is.
	const config = "/var/lib/lxc/c1/config"
	before := v.Must(short, "cat "+config+"; zfs get -Ho property,value guid,mountpoint rpool/lxc/c1")
	out, code := v.Run(short, "beadm guest init c1")
	if code != 5 {
		t.Errorf("guest init of a root that LXC mounts: exit %d: %s", code, out)
	}
	contains(t, "guest init", out, "zfs set canmount=on rpool/lxc/c1 and zfs mount rpool/lxc/c1", "write lxc.rootfs.path = btrfs:"+root+" into "+config)
	v.Must(short, "zfs set canmount=on rpool/lxc/c1 && zfs mount rpool/lxc/c1 && sed -i 's|^lxc.rootfs.path = .*|lxc.rootfs.path = btrfs:"+root+"|' "+config)
	v.Must(long, "beadm guest init c1 && beadm share -g c1 init && systemctl restart lxc.service")
	writes("/var/share/mail/alice")
	contains(t, "guest list", v.Must(short, "beadm guest list"), "c1", "default")
	say("it has boot environments, shares and runs")

	v.Must(long, `beadm -g c1 create new && beadm -g c1 run new -- sh -c 'echo new >/etc/patched'`)
	out = v.Must(3*long, "beadm -g c1 activate new")
	say(out)
	contains(t, "activate", out, "c1 confirmed", "new")
	writes("/var/share/mail/alice")
	say("it is patched")
	v.Must(long, `beadm -g c1 create bad && beadm -g c1 run bad -- sh -ec 'printf "[Service]\nType=oneshot\nExecStart=/bin/false\n" >/etc/systemd/system/broken.service; ln -s ../broken.service /etc/systemd/system/multi-user.target.wants/'`)
	out, code = v.Run(3*long, "beadm -g c1 activate bad")
	say(out)
	if code != 15 {
		t.Errorf("one that fails: exit %d", code)
	}
	contains(t, "activate", out, "c1 fell back", "broken.service")
	same(t, "what it runs", v.Must(short, "readlink "+root+"; cat /proc/$(lxc-info -n c1 -pH)/root/etc/patched"), ".beadm/rootfs/@be-new\nnew")
	same(t, "what is mounted", v.Must(short, "findmnt -rno SOURCE -t zfs | grep lxc/ | sort"), "rpool/lxc/.beadm/c1/ROOT/new\nrpool/lxc/.beadm/c1/VARSHARE")
	writes("/var/share/mail/alice")
	say("it fell back")
	numberedIn(t, v, root)

	v.Must(long, "beadm -g c1 status --acknowledge; beadm -g c1 create newer && beadm -g c1 activate --no-auto-confirm newer && readlink "+root+" | grep newer")
	writes("/var/share/mail/alice")
	if t.Failed() {
		t.FailNow()
	}
	say("the power fails")
	v.Cut()
	v = d.Start(vmtest.Options{Memory: 1536})
	v.Must(long, "(for i in $(seq 200); do systemctl is-active -q beadm-guests lxc && exit; sleep 1; done; systemctl status beadm-guests lxc; exit 1)")
	writes("/var/share/mail/alice")
	out, _ = v.Run(short, "readlink "+root+"; beadm -g c1 status; journalctl -b -u beadm-guests --no-pager -o cat")
	contains(t, "after the host's boot", out, ".beadm/rootfs/@be-new\n", "new is what it starts, and not @be-newer", "failed")
	numberedIn(t, v, root)
	say("the host is up again")

	contains(t, "rollback", v.Must(3*long, "beadm -g c1 rollback"), "c1")
	writes("/var/share/mail/alice")
	same(t, "what it runs", v.Must(short, "readlink "+root+"; ls /proc/$(lxc-info -n c1 -pH)/root/etc/patched 2>&1 | grep -c cannot"), ".beadm/rootfs/@be-default\n1")
	numberedIn(t, v, root)
	say("it is rolled back")

	out, code = v.Run(short, "beadm guest release --destroy c1")
	if code != 4 || !strings.Contains(out, "stop it first") {
		t.Errorf("guest release of one that runs: exit %d: %s", code, out)
	}
	v.Must(long, "lxc-stop -n c1 && beadm -g c1 share undo && beadm -g c1 share commit && beadm guest release --destroy c1")
	v.Must(short, "sed -i 's|^lxc.rootfs.path = .*|lxc.rootfs.path = zfs:rpool/lxc/c1|' "+config)
	same(t, "what was given back", v.Must(short, "cat "+config+"; zfs get -Ho property,value guid,mountpoint rpool/lxc/c1"), before)
	same(t, "what is left", v.Must(short, "zfs list -Ho name -r rpool/lxc; ls -A1 /var/lib/lxc /var/lib/lxc/c1"), "rpool/lxc\nrpool/lxc/c1\n/var/lib/lxc:\nc1\n\n/var/lib/lxc/c1:\nconfig\nrootfs")
	v.Must(long, "lxc-start -n c1 && lxc-wait -n c1 -s RUNNING && test -s /proc/$(lxc-info -n c1 -pH)/root/var/mail/alice")
	say("it is as it was")
}

// What runs containers keeps what it promises with their roots on ZFS.
func TestVMContainersContract(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the contract is run on btrfs by make test")
	}
	t.Parallel()
	suite := contract(t, "lxc")
	_, v := containersHost(t, suite)
	keeps(t, v, "BEADM_CONTAINERS=rpool/lxc", "TestContractOnZFS")
}
