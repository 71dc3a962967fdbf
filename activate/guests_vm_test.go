//go:build linux && vm

package activate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// host is a machine that systemd runs, with the archive of a Debian on /dev/vdc
// and a dataset at /var/lib/machines.
func host(t *testing.T, payload map[string]string) (*vmtest.Disk, *vmtest.VM) {
	t.Helper()
	out, err := exec.Command("sh", "../testdata/demo/cached.sh").Output()
	if err != nil {
		t.Fatalf("cannot make the root of the machines: %v", err)
	}
	debian := filepath.Join(t.TempDir(), "debian.tar") // the machine may write to it
	if out, err := exec.Command("cp", strings.TrimSpace(string(out)), debian).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d := vmtest.NewDisk(t, vmtest.ZFS)
	v := d.Start(vmtest.Options{Memory: 1536, Payload: payload, Second: debian})
	v.Install()
	v.Must(long, `apt-get install -y -qq systemd-container >/dev/null
zfs create -o mountpoint=/var/lib/machines rpool/machines
chmod 700 /var/lib/machines`)
	return d, v
}

// machines are three on such a host, none of which runs: one, two with a dataset
// of its own below it, and three.
func machines(t *testing.T) (*vmtest.Disk, *vmtest.VM) {
	t.Helper()
	d, v := host(t, map[string]string{"/usr/sbin/beadm": program(t)})
	v.Must(long, `mkdir -p /etc/beadm /etc/systemd/nspawn
printf 'guest.hold = 2s\nguest.within = 150s\n' >/etc/beadm/beadm.conf
for m in one two three; do printf '[Exec]\nPrivateUsers=no\n[Network]\nPrivate=yes\nVirtualEthernet=no\n' >/etc/systemd/nspawn/$m.nspawn; done
zfs create rpool/machines/one
tar -C /var/lib/machines/one -xf /dev/vdc
sed -i 's/sleep 0.1/sleep 1/' /var/lib/machines/one/usr/local/bin/mailer
zfs snapshot rpool/machines/one@given
zfs clone rpool/machines/one@given rpool/machines/two
zfs create rpool/machines/two/srv
echo two >/var/lib/machines/two/srv/of
zfs clone -o mountpoint=/var/lib/machines/three rpool/machines/one@given rpool/machines/three`)
	return d, v
}

// writes waits until the machine writes mail.
func writes(t *testing.T, v *vmtest.VM, machine, file string) {
	t.Helper()
	v.Must(long, "(f=/var/lib/machines/"+machine+file+"; was=$(stat -Lc %s $f); for i in $(seq 120); do [ $(stat -Lc %s $f) = $was ] || exit 0; sleep 1; done; systemctl status systemd-nspawn@"+machine+"; exit 1)")
}

// numbered says that each line is there, once.
func numbered(t *testing.T, v *vmtest.VM, machine string) {
	t.Helper()
	for _, file := range []string{"mail/alice", "log/app.log"} {
		text := v.Must(short, "cat /var/lib/machines/"+machine+"/var/share/"+file)
		for i, line := range strings.Split(text, "\n") {
			if _, n, _ := strings.Cut(line, " "); n != strconv.Itoa(i+1) {
				t.Errorf("%s: line %d of %s is %q", machine, i+1, file, line)
				break
			}
		}
	}
}

// The machines of a host that systemd runs, by machinectl and its service, with
// their roots on ZFS: from what they are to a host that went down in a trial.
func TestVMGuests(t *testing.T) {
	t.Parallel()
	began := time.Now()
	d, v := machines(t)
	say := func(what string) { t.Logf("%4.0f s: %s", time.Since(began).Seconds(), what) }
	say("three machines")
	before := v.Must(short, "zfs get -Hro name,property,value,source guid,mountpoint,canmount,mounted rpool/machines/three")

	// One that runs is not adopted, and goes on.
	v.Must(short, "machinectl start one")
	writes(t, v, "one", "/var/mail/alice")
	say("one runs")
	out, code := v.Run(short, "beadm guest init one")
	if code != 4 || !strings.Contains(out, "stop it first") {
		t.Errorf("guest init of a machine that runs: exit %d: %s", code, out)
	}
	v.Must(long, "machinectl stop one 2>/dev/null || systemctl stop systemd-nspawn@one; systemctl stop systemd-nspawn@one; ! machinectl status one 2>/dev/null")

	t.Log(v.Must(long, "beadm -v guest init one two three 2>&1"))
	contains(t, "guest list", v.Must(short, "beadm guest list; cat /var/lib/machines/two/srv/of"), "default", "two\n")
	t.Log(v.Must(short, "ls -l /var/lib/machines; zfs list -r -o name,canmount,mountpoint,mounted rpool/machines"))
	v.Must(long, "beadm share -g 't*' init")
	say("they have boot environments")
	v.Must(long, "machinectl start one two three")
	for _, m := range []string{"one", "two", "three"} {
		writes(t, v, m, "/var/mail/alice")
	}
	contains(t, "machinectl list", v.Must(short, "machinectl list --no-legend"), "one ", "two ", "three ")
	say("all run")
	t.Log(v.Must(2*long, "beadm share -g one init --stop-all 2>&1"))
	writes(t, v, "one", "/var/share/mail/alice")
	say("one shares, too")

	// A batch: one of them has a service that fails, and falls back alone.
	t.Log(v.Must(long, "beadm -g '*' create new 2>&1"))
	v.Must(long, `beadm -g two run new -- sh -ec 'echo changed >/srv/of; printf "[Service]\nType=oneshot\nExecStart=/bin/false\n" >/etc/systemd/system/broken.service; ln -s ../broken.service /etc/systemd/system/multi-user.target.wants/'`)
	v.Must(long, `beadm -g one run new -- sh -c 'echo new >/etc/patched'`)
	say("they are patched")
	out, code = v.Run(2*long, "beadm -g '*' activate new")
	if code != 15 {
		t.Errorf("a batch of which one fails: exit %d", code)
	}
	contains(t, "the batch", out, "one   confirmed", "two   fell back", "three confirmed", "broken.service")
	say(out)
	contains(t, "what they run", v.Must(short, "readlink /var/lib/machines/*; cat /var/lib/machines/one/etc/patched /var/lib/machines/two/srv/of"), ".beadm/one/@be-new\n.beadm/three/@be-new\n.beadm/two/@be-default\nnew\ntwo")
	mounted := v.Must(short, "findmnt -rno SOURCE -t zfs | grep machines/ | sort")
	same(t, "what is mounted", mounted, "rpool/machines/.beadm/one/ROOT/new\nrpool/machines/.beadm/one/VARSHARE\nrpool/machines/.beadm/three/ROOT/new\nrpool/machines/.beadm/three/VARSHARE\nrpool/machines/.beadm/two/ROOT/default\nrpool/machines/.beadm/two/ROOT/default/srv\nrpool/machines/.beadm/two/VARSHARE")
	for _, m := range []string{"one", "two", "three"} {
		writes(t, v, m, "/var/share/mail/alice")
		numbered(t, v, m)
	}
	contains(t, "rollback", v.Must(2*long, "beadm -g three rollback"), "three")
	writes(t, v, "three", "/var/share/mail/alice")
	numbered(t, v, "three")
	say("three is back")

	// The host goes down while a trial is watched. Its guest is enabled.
	v.Must(short, "machinectl enable one; beadm -g one describe new tried; sed -i 's/hold = 2s/hold = 10m/;s/within = .*/within = 30m/' /etc/beadm/beadm.conf")
	v.Must(2*long, "beadm -g one rollback --permanent 2>/dev/null || :; beadm guest status")
	v.Must(2*long, "beadm -g one create -e new newer; (setsid beadm -g one activate newer >/root/batch 2>&1 &) ; (for i in $(seq 100); do beadm -g one status | grep -q 'state: *trying' && exit 0; sleep 1; done; cat /root/batch; beadm -g one status; exit 1)")
	contains(t, "the link", v.Must(short, "readlink /var/lib/machines/one"), "@be-newer")
	say("one is on trial, and the power fails")
	v.Cut()
	v = d.Start(vmtest.Options{Memory: 1536})
	writes(t, v, "one", "/var/share/mail/alice")
	say("the host is up again")
	out = v.Must(short, "readlink /var/lib/machines/one; findmnt -no SOURCE /var/lib/machines/one/; beadm -g one status; journalctl -b -u beadm-guests --no-pager -o cat; systemctl --failed --no-legend --plain | grep -v chrony || :")
	t.Log(out)
	contains(t, "after the host's boot", out, ".beadm/one/@be-new\n", "new is what it starts", "newer")
	contains(t, "the order", v.Must(short, "systemctl show -P ActiveState systemd-nspawn@one; systemctl show -P After systemd-nspawn@one"), "active\n", "beadm-guests.service")
	numbered(t, v, "one")

	// And given back.
	v.Must(long, "beadm -g three share undo && beadm -g three share commit")
	t.Log(v.Must(long, "beadm guest release --destroy three 2>&1"))
	same(t, "what was given back", v.Must(short, "zfs get -Hro name,property,value,source guid,mountpoint,canmount,mounted rpool/machines/three"), before)
	contains(t, "the machine", v.Must(short, "ls -ld /var/lib/machines/three; cat /var/lib/machines/three/etc/hostname"), "drwx", "demo")
	say("three is as it was")
}

// What runs guests by their services keeps what it promises.
func TestVMGuestsContract(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the contract is run without systemd, and machines by their services in TestVMGuests")
	}
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "nspawn.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, "beadm/activate/guest/nspawn")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the suite: %v: %s", err, out)
	}
	_, v := host(t, map[string]string{"/root/nspawn.test": binary})
	out, code := v.Run(20*time.Minute, "cd /root && BEADM_MACHINES=rpool/machines BEADM_MACHINES_TAR=/dev/vdc ./nspawn.test -test.v -test.run TestContractOfService")
	if code != 0 || !strings.Contains(out, "--- PASS: TestContractOfService") || strings.Contains(out, "NOT RUN") {
		t.Errorf("ended with %d:\n%s", code, out)
	}
}
