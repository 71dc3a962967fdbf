//go:build linux && vm

package activate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"beadm/activate/boot/vmtest"
)

// host is a machine that systemd runs, with the archive of a Debian on /dev/vdc,
// the package that runs guests, and a dataset for them.
func host(t *testing.T, payload map[string]string, runs, dataset, at string) (*vmtest.Disk, *vmtest.VM) {
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
	v.Must(long, "apt-get install -y -qq --no-install-recommends "+runs+" >/dev/null && zfs create -o mountpoint="+at+" "+dataset)
	return d, v
}

// machinesHost is one of systemd-nspawn's machines.
func machinesHost(t *testing.T, payload map[string]string) (*vmtest.Disk, *vmtest.VM) {
	t.Helper()
	d, v := host(t, payload, "systemd-container", "rpool/machines", "/var/lib/machines")
	v.Must(short, "chmod 700 /var/lib/machines")
	return d, v
}

// machines are two on such a host, none of which runs: one, and two, whose root
// has a dataset of its own below it.
func machines(t *testing.T) (*vmtest.Disk, *vmtest.VM) {
	t.Helper()
	d, v := machinesHost(t, map[string]string{"/usr/sbin/beadm": program(t)})
	v.Must(long, `mkdir -p /etc/beadm /etc/systemd/nspawn
printf 'guest.hold = 2s\nguest.within = 150s\n' >/etc/beadm/beadm.conf
for m in one two three; do printf '[Exec]\nPrivateUsers=no\n[Network]\nPrivate=yes\nVirtualEthernet=no\n' >/etc/systemd/nspawn/$m.nspawn; done
zfs create rpool/machines/one
tar -C /var/lib/machines/one -xf /dev/vdc
sed -i 's/sleep 0.1/sleep 1/' /var/lib/machines/one/usr/local/bin/mailer
zfs snapshot rpool/machines/one@given
zfs clone -o mountpoint=/var/lib/machines/two rpool/machines/one@given rpool/machines/two
zfs create rpool/machines/two/srv
echo two >/var/lib/machines/two/srv/of`)
	return d, v
}

// writes waits until the machine writes mail.
func writes(t *testing.T, v *vmtest.VM, machine, file string) {
	t.Helper()
	grows(t, v, "/var/lib/machines/"+machine+file, "systemctl status systemd-nspawn@"+machine)
}

// grows waits until a file becomes longer; what keeps it from that, why shows.
func grows(t *testing.T, v *vmtest.VM, file, why string) {
	t.Helper()
	v.Must(long, "(was=; for i in $(seq 180); do is=$(stat -Lc %s "+file+" 2>/dev/null); [ -z \"$was\" ] || [ -z \"$is\" ] || [ \"$is\" = \"$was\" ] || exit 0; was=$is; sleep 1; done; "+why+"; exit 1)")
}

// numbered says that each line is there, once.
func numbered(t *testing.T, v *vmtest.VM, machine string) {
	t.Helper()
	numberedIn(t, v, "/var/lib/machines/"+machine)
}

func numberedIn(t *testing.T, v *vmtest.VM, root string) {
	t.Helper()
	for _, file := range []string{"mail/alice", "log/app.log"} {
		text := v.Must(short, "cat "+root+"/var/share/"+file)
		for i, line := range strings.Split(text, "\n") {
			if _, n, _ := strings.Cut(line, " "); n != strconv.Itoa(i+1) {
				t.Errorf("%s: line %d of %s is %q", root, i+1, file, line)
				break
			}
		}
	}
}

// oneTransaction says that the youngest automatic snapshots are n roots' and were
// made in one transaction.
func oneTransaction(t *testing.T, v *vmtest.VM, n int) {
	t.Helper()
	rows := v.Must(short, "zfs list -Hpr -t snapshot -S createtxg -o createtxg,name rpool | grep -E 'ROOT/[^/]*@beadm-create-'")
	var txg, of []string
	for _, row := range strings.Split(rows, "\n")[:min(n, strings.Count(rows, "\n")+1)] {
		number, name, _ := strings.Cut(row, "\t")
		_, snap, _ := strings.Cut(name, "@")
		txg, of = append(txg, number), append(of, snap)
	}
	if len(txg) != n || len(slices.Compact(txg)) != 1 || len(slices.Compact(of)) != 1 {
		t.Errorf("%d snapshots were not made in one transaction:\n%s", n, rows)
	}
}

// The machines of a host that systemd runs, by machinectl and its service, with
// their roots on ZFS: one of a batch falls back, the other is on trial when the
// host's power fails, and starts from its old root as the host comes up.
func TestVMGuests(t *testing.T) {
	t.Parallel()
	began := time.Now()
	say := func(what string) { t.Helper(); t.Logf("%4.0f s: %s", time.Since(began).Seconds(), what) }
	d, v := machines(t)
	say("two machines")

	// One that runs is not adopted, and goes on.
	v.Must(short, "machinectl start one")
	writes(t, v, "one", "/var/mail/alice")
	out, code := v.Run(short, "beadm guest init one")
	if code != 4 || !strings.Contains(out, "stop it first") {
		t.Errorf("guest init of a machine that runs: exit %d: %s", code, out)
	}
	v.Must(2*long, "systemctl stop systemd-nspawn@one && ! machinectl status one 2>/dev/null && mountpoint /var/lib/machines/one")

	v.Must(long, "beadm guest init one two && beadm guest init one")
	bootfs := v.Must(short, "zpool get -Ho value bootfs rpool")
	contains(t, "guest list", v.Must(short, "beadm guest list; cat /var/lib/machines/two/srv/of"), "default", "two\n")
	v.Must(long, "beadm share -g '*' init")
	say("they have boot environments, and share")
	v.Must(long, "systemctl enable machines.target; machinectl enable one two; machinectl start one two")
	writes(t, v, "one", "/var/mail/alice")
	writes(t, v, "two", "/var/mail/alice")
	contains(t, "machinectl list", v.Must(short, "machinectl list --no-legend"), "one ", "two ")
	say("they run")
	contains(t, "create", v.Must(long, "beadm -g '*' create new"), "2 snapshots in pool rpool, made as one")
	oneTransaction(t, v, 2)
	v.Must(long, `beadm -g two run new -- sh -ec 'echo changed >/srv/of; printf "[Service]\nType=oneshot\nExecStart=/bin/false\n" >/etc/systemd/system/broken.service; ln -s ../broken.service /etc/systemd/system/multi-user.target.wants/'`)
	v.Must(long, `beadm -g one run new -- sh -c 'echo new >/etc/patched'`)
	say("they are patched")
	out, code = v.Run(3*long, "beadm -g '*' activate --no-auto-confirm new")
	say(out)
	if code != 15 {
		why, _ := v.Run(short, "systemctl --no-pager -M two --failed; systemctl --no-pager -M two status broken.service; systemctl --no-pager -M two list-jobs; ls -l /var/lib/machines/two/etc/systemd/system /var/lib/machines/two/etc/systemd/system/multi-user.target.wants; cat /var/lib/machines/two/etc/systemd/system/broken.service")
		t.Errorf("a batch of which one fails: exit %d\n%s", code, why)
	}
	contains(t, "the batch", out, "one on trial", "two fell back", "broken.service")
	same(t, "what they run", v.Must(short, "readlink /var/lib/machines/*; cat /var/lib/machines/one/etc/patched /var/lib/machines/two/srv/of"), ".beadm/one/@be-new\n.beadm/two/@be-default\nnew\ntwo")
	same(t, "what is mounted", v.Must(short, "findmnt -rno SOURCE -t zfs | grep machines/ | sort"), strings.Join([]string{
		"rpool/machines/.beadm/one/ROOT/new", "rpool/machines/.beadm/one/VARSHARE",
		"rpool/machines/.beadm/two/ROOT/default", "rpool/machines/.beadm/two/ROOT/default/srv", "rpool/machines/.beadm/two/VARSHARE",
	}, "\n"))
	for _, m := range []string{"one", "two"} {
		writes(t, v, m, "/var/share/mail/alice")
		numbered(t, v, m)
	}

	if t.Failed() {
		t.FailNow()
	}
	say("the power fails")
	v.Cut()
	v = d.Start(vmtest.Options{Memory: 1536})
	writes(t, v, "one", "/var/share/mail/alice")
	writes(t, v, "two", "/var/share/mail/alice")
	say("the host is up again")
	v.Must(long, "(for i in $(seq 200); do systemctl is-active -q systemd-nspawn@one systemd-nspawn@two && exit; sleep 1; done; systemctl status 'systemd-nspawn@*'; exit 1)")
	out, _ = v.Run(short, "readlink /var/lib/machines/one; beadm -g one status; journalctl -b -u beadm-guests --no-pager -o cat; cat /proc/$(machinectl show -p Leader --value one)/root/etc/patched")
	contains(t, "after the host's boot", out, ".beadm/one/@be-default\n", "default is what it starts, and not @be-new", "failed", "/root/etc/patched: No such file")
	if n := strings.Count(out, "default is what it starts"); n != 1 {
		t.Errorf("the unit was run %d times:\n%s", n, out)
	}
	same(t, "what is mounted then", v.Must(short, "findmnt -rno SOURCE -t zfs | grep machines/.*ROOT | sort"), "rpool/machines/.beadm/one/ROOT/default\nrpool/machines/.beadm/two/ROOT/default\nrpool/machines/.beadm/two/ROOT/default/srv")
	numbered(t, v, "one")
	numbered(t, v, "two")
	same(t, "what the host boots", v.Must(short, "zpool get -Ho value bootfs rpool"), bootfs)
	if os.Getenv("BEADM_LONG") == "" {
		return
	}

	// A third, whose directories move while it is stopped for that.
	v.Must(long, "zfs clone rpool/machines/one@given rpool/machines/three 2>/dev/null || zfs clone rpool/machines/.beadm/one/ROOT/default@given rpool/machines/three")
	before := v.Must(short, "zfs get -Hro name,property,value,source guid,mountpoint,canmount,mounted rpool/machines/three | sed s/default/local/")
	v.Must(long, "beadm guest init three && machinectl start three")
	writes(t, v, "three", "/var/mail/alice")
	v.Must(2*long, "beadm share -g three init --stop-all")
	writes(t, v, "three", "/var/share/mail/alice")
	say("three shares")

	// All of a batch are confirmed, and one goes back.
	v.Must(long, "beadm -g one status --acknowledge; beadm -g three create new")
	contains(t, "a batch", v.Must(3*long, "beadm -g one -g three activate new"), "one   confirmed", "three confirmed")
	contains(t, "rollback", v.Must(2*long, "beadm -g three rollback"), "three")
	for _, m := range []string{"one", "three"} {
		writes(t, v, m, "/var/share/mail/alice")
		numbered(t, v, m)
	}
	same(t, "what the host boots", v.Must(short, "zpool get -Ho value bootfs rpool"), bootfs)
	say("a batch and a rollback")

	// The batch is killed while it watches a trial, and the host goes down in order.
	v.Must(long, "sed -i 's/hold = 2s/hold = 10m/;s/within = .*/within = 30m/' /etc/beadm/beadm.conf; beadm -g one create newer")
	v.Must(2*long, "setsid beadm -g one activate newer >/root/batch 2>&1 & (for i in $(seq 200); do readlink /var/lib/machines/one | grep -q newer && exit; sleep 1; done; cat /root/batch; exit 1)")
	writes(t, v, "one", "/var/share/mail/alice")
	v.Must(short, "pkill -9 -f 'activate newer'; readlink /var/lib/machines/one | grep newer")
	mark := v.Mark()
	v.Send("systemctl reboot")
	reboots(t, d, v, mark)
	writes(t, v, "one", "/var/share/mail/alice")
	v.Must(long, "systemctl is-active -q beadm-guests || { journalctl -b -u beadm-guests -o cat --no-pager; exit 1; }")
	contains(t, "after the second boot", v.Must(short, "readlink /var/lib/machines/one; beadm -g one status"), ".beadm/one/@be-new\n", "newer")
	numbered(t, v, "one")
	v.Must(short, "sed -i 's/hold = 10m/hold = 2s/;s/within = .*/within = 150s/' /etc/beadm/beadm.conf")
	say("the host was restarted in a trial")

	// A host and its guests.
	v.Must(2*long, "beadm setup && beadm create --with-guests together")
	oneTransaction(t, v, 4)
	contains(t, "what belongs together", v.Must(long, "beadm -g '*' list; beadm list"), "together")
	v.Must(2*long, "beadm destroy -F --with-guests together")
	if left, _ := v.Run(long, "beadm -g '*' list -H; beadm list -H"); strings.Contains(left, "together") {
		t.Errorf("destroy left what was made with it:\n%s", left)
	}

	// What one guest's boot environment becomes in another, and nobody can write to.
	v.Must(2*long, "beadm -g one share add /var/lib/systemd --stop-all; beadm -g three run new -- sh -c 'echo pattern >/etc/pattern'")
	v.Must(long, "beadm create -e three/new -g one -o readonly=on v2")
	contains(t, "the template's clone", v.Must(3*long, "beadm activate -g one v2"), "one confirmed")
	out, code = v.Run(short, "cat /var/lib/machines/one/etc/pattern; touch /var/lib/machines/one/etc/new")
	if code == 0 || !strings.Contains(out, "pattern\n") || !strings.Contains(out, "Read-only") {
		t.Errorf("the root of a template, read-only: %s", out)
	}
	writes(t, v, "one", "/var/share/mail/alice")
	numbered(t, v, "one")
	v.Must(2*long, "beadm -g three destroy -F new && beadm -g one rollback && beadm -g one destroy -F v2")
	say("a template")

	v.Must(long, "beadm -g three share undo && beadm -g three share commit")
	v.Must(long, "beadm guest release --destroy three")
	same(t, "what was given back", v.Must(short, "zfs get -Hro name,property,value,source guid,mountpoint,canmount,mounted rpool/machines/three | sed s/default/local/"), before)
	contains(t, "the machine", v.Must(short, "ls -ld /var/lib/machines/three; cat /var/lib/machines/three/etc/hostname"), "drwx", "demo")
	say("three is as it was")
}

// What runs machines by their services keeps what it promises.
func TestVMGuestsContract(t *testing.T) {
	if os.Getenv("BEADM_LONG") == "" {
		t.Skip("NOT RUN: BEADM_LONG=1 (make test-long) runs it; the contract is run without systemd, and machines by their services in TestVMGuests")
	}
	t.Parallel()
	suite := contract(t, "nspawn")
	_, v := machinesHost(t, suite)
	keeps(t, v, "BEADM_MACHINES=rpool/machines", "TestContractOfService")
}

// contract is the suite of a runtime, and what it takes.
func contract(t *testing.T, runtime string) map[string]string {
	t.Helper()
	suite, intruder := filepath.Join(t.TempDir(), "suite"), filepath.Join(t.TempDir(), "intruder")
	for _, argv := range [][]string{{"test", "-c", "-o", suite, "beadm/activate/guest/" + runtime}, {"build", "-o", intruder, "beadm/activate/guest/guesttest/intruder"}} {
		cmd := exec.Command("go", argv...)
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cannot build the suite: %v: %s", err, out)
		}
	}
	return map[string]string{"/root/suite": suite, "/root/intruder": intruder}
}

func keeps(t *testing.T, v *vmtest.VM, dataset, name string) {
	t.Helper()
	out, code := v.Run(20*time.Minute, "cd /root && "+dataset+" BEADM_MACHINES_TAR=/dev/vdc BEADM_MACHINES_DISK=/dev/vda BEADM_INTRUDER=/root/intruder ./suite -test.v -test.run '^"+name+"$'")
	if code != 0 || !strings.Contains(out, "--- PASS: "+name) || strings.Contains(out, "NOT RUN") {
		t.Errorf("ended with %d:\n%s", code, out)
	}
}
