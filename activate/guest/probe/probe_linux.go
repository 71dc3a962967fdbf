// Package probe asks the systemd of a guest how it is, over the guest's system
// bus, as systemctl --machine does. No program of the guest is run, no process
// of ours enters its name spaces, and nothing of its root is opened but that
// socket.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	sdbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"beadm/activate/guest"
)

const (
	busSocket = "run/dbus/system_bus_socket"
	manyUnits = 1 << 20 // bytes: a hostile guest may name any number
	patience  = 5 * time.Second
	blind     = 5 * time.Second
)

// Systemd says how the guest whose process 1 is leader is. It is an error while
// there is no systemd that answers. One that is to have no system bus counts as up
// five seconds after its start: nobody can ask it.
func Systemd(ctx context.Context, leader int) (guest.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	root, err := unix.Open("/proc/"+strconv.Itoa(leader)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return guest.Health{}, fmt.Errorf("cannot ask the guest's systemd: %w", err)
	}
	defer unix.Close(root)
	// Until then it is the runtime, in the host's root, whose bus is the host's.
	if begun, err := hasBegun(leader, root); err != nil || !begun {
		return guest.Health{Why: "its init has not begun yet"}, err
	}
	socket, err := busOf(root)
	if errors.Is(err, unix.ENOENT) {
		if expectsBus(leader, root) {
			return guest.Health{Why: "it has no system bus yet"}, nil
		}
		age, aerr := ageOf(leader)
		if aerr != nil || age < blind {
			return guest.Health{Why: "it has no system bus yet"}, aerr
		}
		return guest.Health{Up: true}, nil
	}
	if err != nil {
		return guest.Health{}, fmt.Errorf("cannot ask the guest's systemd: %w", err)
	}
	defer socket.Close()
	uid := 0
	if shifted, err := hasUserNamespace(leader); err != nil {
		return guest.Health{}, err
	} else if shifted {
		uid = nobody
	}
	h, err := ask(ctx, socket, uid)
	if err != nil {
		return h, fmt.Errorf("cannot ask the guest's systemd: %w", err)
	}
	return h, nil
}

// hasBegun says that leader, whose root is open at root, is the guest's init, and
// no longer the runtime on its way there.
func hasBegun(leader, root int) (bool, error) {
	var theirs, ours unix.Stat_t
	if err := errors.Join(unix.Fstat(root, &theirs), unix.Stat("/", &ours)); err != nil {
		return false, err
	}
	if theirs.Dev == ours.Dev && theirs.Ino == ours.Ino {
		return false, nil
	}
	name, err := nameOf(leader)
	return name != "systemd-nspawn" && name != "lxc-start" && !strings.HasPrefix(name, "(sd-"), err
}

func nameOf(pid int) (string, error) {
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSpace(string(name)), err
}

// expectsBus says that the guest will have a system bus once its systemd has come
// so far: one that hangs before that is not up.
func expectsBus(leader, root int) bool {
	has := func(name string) bool {
		fd, err := unix.Openat2(root, name, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err == nil {
			unix.Close(fd)
		}
		return err == nil
	}
	name, _ := nameOf(leader)
	isSystemd := name == "systemd" || has("run/systemd/system")
	return isSystemd && (has("usr/lib/systemd/system/dbus.socket") || has("lib/systemd/system/dbus.socket"))
}

// nobody is what root is in a user namespace that does not know it
// (user_namespaces(7), overflowuid).
const nobody = 65534

// busOf finds the socket as a process of the guest would, and follows no
// link out of its root.
func busOf(root int) (*os.File, error) {
	fd, err := unix.Openat2(root, busSocket, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		unix.Close(fd)
		return nil, errors.Join(err, errors.New("/run/dbus/system_bus_socket in it is no socket"))
	}
	return os.NewFile(uintptr(fd), busSocket), nil
}

func hasUserNamespace(pid int) (bool, error) {
	ours, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return false, err
	}
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/user")
	return ours != theirs, err
}

// ageOf is how long the process runs (proc(5), starttime).
func ageOf(pid int) (time.Duration, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 {
		return 0, errors.New("/proc/PID/stat is too short")
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return 0, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, err
	}
	return time.Duration(now.Nano()) - time.Duration(ticks)*time.Second/userHz, nil
}

// userHz is that of every Linux that Go knows.
const userHz = 100

// ask speaks with the systemd behind the socket of its bus, which knows us as
// uid.
func ask(ctx context.Context, socket *os.File, uid int) (guest.Health, error) {
	var h guest.Health
	conn, err := sdbus.NewConnection(func() (*dbus.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", socket.Fd()))
		if err != nil {
			return nil, err
		}
		if t, ok := ctx.Deadline(); ok {
			c.SetDeadline(t)
		}
		b, err := dbus.NewConn(&limited{Conn: c, r: io.LimitReader(c, manyUnits)}, dbus.WithContext(ctx))
		if err != nil {
			c.Close()
			return nil, err
		}
		if err = b.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(uid))}); err == nil {
			err = b.Hello()
		}
		if err != nil {
			b.Close()
			return nil, err
		}
		return b, nil
	})
	if err != nil {
		return h, err
	}
	defer conn.Close()
	state, err := conn.SystemStateContext(ctx)
	if err != nil {
		return h, err
	}
	word, _ := state.Value.Value().(string)
	h.Up = word == "running" || word == "degraded"
	if !h.Up {
		h.Why = "its systemd says " + strconv.Quote(word)
	}
	units, err := conn.ListUnitsFilteredContext(ctx, []string{"failed"})
	if err != nil {
		return h, err
	}
	for _, u := range units {
		h.Failed = append(h.Failed, u.Name)
	}
	slices.Sort(h.Failed)
	return h, nil
}
