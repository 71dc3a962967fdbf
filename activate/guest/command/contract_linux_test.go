package command

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"beadm/activate/guest"
	"beadm/activate/guest/guesttest"
	"beadm/be"
)

// The commands run a machine by systemd-nspawn, as an administrator might.
// They keep its pid in $STATE.
const (
	leader = `read -r nspawn <"$STATE/pid" 2>/dev/null && readlink "/proc/$nspawn/exe" >/dev/null || exit 1
leader=
for child in $(cat /proc/$nspawn/task/*/children 2>/dev/null); do
	read -r comm <"/proc/$child/comm" || continue
	case $comm in systemd-nspawn | "(sd-"*) continue ;; esac
	[ "$(readlink /proc/$child/ns/pid)" = "$(readlink /proc/self/ns/pid)" ] || leader=$child
done
`
	startIt = `setsid systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --settings=no --link-journal=no \
	--machine="$BEADM_GUEST_NAME" --directory="$BEADM_GUEST_ROOT" --console=read-only </dev/null >"$STATE/words" 2>&1 &
echo $! >"$STATE/pid"
while :; do
	(` + leader + `[ -n "$leader" ]) && exit 0
	kill -0 $! 2>/dev/null || break
	sleep 0.05
done
wait $!
grep -v "^Attempted to remove" "$STATE/words" >&2
exit 1
`
	running = leader + `echo $leader`
	stopIt  = leader + `kill -TERM $nspawn`
	killIt  = leader + `kill -KILL ${leader:-$nspawn}`
	ready   = leader + `[ -n "$leader" ] || { echo "it has no process 1"; exit 1; }
inside() { nsenter --target $leader --all --wdns=/ -- systemctl "$@" 2>/dev/null; }
state=$(inside is-system-running)
case $state in running | degraded) ;; *) echo "it is $state"; exit 1 ;; esac
inside list-units --state=failed --plain --no-legend | cut -d' ' -f1
`
	runIt = `exec systemd-nspawn --quiet --as-pid2 --register=no --keep-unit --settings=no --link-journal=no --timezone=off \
	--console=pipe --machine="$BEADM_GUEST_NAME-run" --directory="$BEADM_GUEST_ROOT" -- "$@"`
)

func TestContract(t *testing.T) {
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		t.Fatalf("Debian's package systemd-container is needed: %v", err)
	}
	t.Setenv("STATE", t.TempDir())
	disk := guesttest.NewDisk(t, "../../../testdata/demo/cached.sh")
	dir := filepath.Join(disk.Top, "guests")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("beadm-test-%d", os.Getpid())
	root := filepath.Join(dir, name)
	r := New(Config{Guests: []Guest{{Name: name, Root: root, Start: startIt, Stop: stopIt, Kill: killIt, Running: running, Ready: ready, Run: runIt}}})
	guesttest.Run(t, guesttest.Scene{Runtime: r, Guest: name, Root: root, Disk: disk, Unconfined: true})
}

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("STATE", dir)
	good := Guest{Name: "web1", Root: "/srv/web1", Start: `echo "$BEADM_GUEST_NAME $BEADM_GUEST_ROOT" >"$STATE/on"`, Stop: `rm "$STATE/on"`,
		Running: `test -e "$STATE/on"`, Ready: `printf 'b\na\n'`, Run: `echo "$BEADM_GUEST_ROOT:$*"`}
	with := func(change func(*Guest)) (*Runtime, guest.Guest) {
		os.Remove(filepath.Join(dir, "on"))
		c := good
		change(&c)
		return New(Config{Guests: []Guest{c}}), guest.Guest{Name: c.Name, Runtime: "command", Root: c.Root}
	}
	ctx := context.Background()
	wants := func(err error, words ...string) {
		t.Helper()
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("the error says nothing of %q: %v", w, err)
			}
		}
	}

	r, g := with(func(*Guest) {})
	if err := r.Start(ctx, g); err != nil {
		t.Fatal(err)
	}
	if said, _ := os.ReadFile(filepath.Join(dir, "on")); string(said) != "web1 /srv/web1\n" {
		t.Errorf("start saw %q", said)
	}
	if h, err := r.Health(ctx, g); err != nil || !h.Up || fmt.Sprint(h.Failed) != "[a b]" {
		t.Errorf("health: %+v, %v", h, err)
	}
	if err := r.Stop(ctx, g); err != nil {
		t.Error(err)
	}

	r, g = with(func(c *Guest) { c.Start = "echo one >&2; echo no disk >&2; exit 3" })
	wants(r.Start(ctx, g), "web1", "no disk", "exit status 3")

	r, g = with(func(c *Guest) { c.Ready = "echo still mounting; exit 1" })
	if err := r.Start(ctx, g); err != nil {
		t.Fatal(err)
	}
	if h, err := r.Health(ctx, g); err != nil || h.Up || h.Why != "still mounting" {
		t.Errorf("health: %+v, %v", h, err)
	}

	// It cannot be known whether it runs: it is not taken for stopped.
	r, g = with(func(c *Guest) { c.Running = "echo no bus >&2; exit 2" })
	_, err := r.List(ctx)
	wants(err, "web1", "no bus")
	wants(r.Start(ctx, g), "no bus")
	wants(r.Stop(ctx, g), "no bus")

	r, g = with(func(c *Guest) { c.Running = "echo 1" })
	_, err = r.List(ctx)
	wants(err, "no process")

	// A guest that does not stop and has no command kill.
	r, g = with(func(c *Guest) { c.Stop = "sleep 1000" })
	if err := r.Start(ctx, g); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 1)
	defer cancel()
	wants(r.Stop(short, g), "web1")

	r, g = with(func(c *Guest) { c.Run = "" })
	if err := r.Run(ctx, g, guest.Command{Root: dir, Argv: []string{"true"}}); be.KindOf(err) != be.NoStore {
		t.Errorf("run that is not configured: %v", err)
	}

	for _, change := range []func(*Guest){
		func(c *Guest) { c.Name = "-n" },
		func(c *Guest) { c.Name = "a/b" },
		func(c *Guest) { c.Root = "srv/web1" },
		func(c *Guest) { c.Root = "/srv/../web1" },
		func(c *Guest) { c.Start = " " },
		func(c *Guest) { c.Stop = "" },
		func(c *Guest) { c.Running = "" },
		func(c *Guest) { c.Ready = "" },
	} {
		r, _ := with(change)
		if _, err := r.List(ctx); be.KindOf(err) != be.Usage {
			t.Errorf("%+v: %v", r.cfg.Guests[0], err)
		}
	}
}
