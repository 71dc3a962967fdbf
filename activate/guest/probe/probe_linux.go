// Package probe asks the systemd of a guest how it is, over the socket that
// systemd has for systemctl(1). No program of the guest is run, and nothing of
// its root is opened but that socket.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	sdbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"beadm/activate/guest"
)

// Argument is the hidden first argument with which the program starts itself as
// the root of a guest that has a user namespace: Main.
const Argument = "guest-probe"

const (
	privateSocket = "run/systemd/private"
	manyUnits     = 1 << 20 // bytes: a hostile guest may name any number
	patience      = 5 * time.Second
)

// Systemd says how the guest whose process 1 is leader is. It is an error while
// there is no systemd that answers.
func Systemd(ctx context.Context, leader int) (guest.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	socket, err := privateOf(leader)
	if err != nil {
		return guest.Health{}, fmt.Errorf("cannot ask the guest's systemd: %w", err)
	}
	defer socket.Close()
	shifted, err := hasUserNamespace(leader)
	if err != nil {
		return guest.Health{}, err
	}
	if shifted {
		return askAsItsRoot(ctx, leader, socket)
	}
	return ask(ctx, socket)
}

// privateOf finds the socket as a process of the guest would, and follows no
// link out of its root.
func privateOf(leader int) (*os.File, error) {
	root, err := unix.Open("/proc/"+strconv.Itoa(leader)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, privateSocket, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		unix.Close(fd)
		return nil, errors.Join(err, errors.New("/run/systemd/private in it is no socket"))
	}
	return os.NewFile(uintptr(fd), privateSocket), nil
}

func hasUserNamespace(pid int) (bool, error) {
	ours, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return false, err
	}
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/user")
	return ours != theirs, err
}

// ask speaks with the systemd behind the socket.
func ask(ctx context.Context, socket *os.File) (guest.Health, error) {
	var h guest.Health
	conn, err := sdbus.NewConnection(func() (*dbus.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", socket.Fd()))
		if err != nil {
			return nil, err
		}
		if t, ok := ctx.Deadline(); ok {
			c.SetDeadline(t)
		}
		b, err := dbus.NewConn(limited{c, io.LimitReader(c, manyUnits)}, dbus.WithContext(ctx))
		if err != nil {
			c.Close()
			return nil, err
		}
		// The only user whom that socket answers.
		if err := b.Auth([]dbus.Auth{dbus.AuthExternal("0")}); err != nil {
			b.Close()
			return nil, err
		}
		return b, nil
	})
	if err != nil {
		return h, fmt.Errorf("cannot ask the guest's systemd: %w", err)
	}
	defer conn.Close()
	state, err := conn.SystemStateContext(ctx)
	if err != nil {
		return h, fmt.Errorf("cannot ask the guest's systemd: %w", err)
	}
	word, _ := state.Value.Value().(string)
	h.Up = word == "running" || word == "degraded"
	if !h.Up {
		h.Why = "its systemd says " + strconv.Quote(word)
	}
	units, err := conn.ListUnitsFilteredContext(ctx, []string{"failed"})
	if err != nil {
		return h, fmt.Errorf("cannot ask the guest's systemd: %w", err)
	}
	for _, u := range units {
		h.Failed = append(h.Failed, u.Name)
	}
	slices.Sort(h.Failed)
	return h, nil
}

// limited is a connection of which no more is read than a guest has to say.
type limited struct {
	net.Conn
	r io.Reader
}

func (l limited) Read(p []byte) (int, error) { return l.r.Read(p) }

// askAsItsRoot has this program ask as the guest's root, whom systemd answers.
// It enters nothing of the guest but its user namespace.
func askAsItsRoot(ctx context.Context, leader int, socket *os.File) (guest.Health, error) {
	var h guest.Health
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return h, err
	}
	defer self.Close()
	// By its descriptor: the guest's root may not come to where it lies.
	cmd := exec.CommandContext(ctx, "nsenter", "--target="+strconv.Itoa(leader), "--user", "--setuid=0", "--setgid=0", "--", "/proc/self/fd/3", Argument)
	cmd.ExtraFiles = []*os.File{self, socket}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	if err == nil {
		err = json.Unmarshal(out, &h)
	}
	if err != nil {
		return h, fmt.Errorf("cannot ask the guest's systemd as its root: %w", err)
	}
	return h, nil
}

// Main is the process that askAsItsRoot starts: descriptor 4 is the socket. It
// returns the status to end with.
func Main(out, errs io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h, err := ask(ctx, os.NewFile(4, privateSocket))
	if err == nil {
		err = json.NewEncoder(out).Encode(h)
	}
	if err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	return 0
}
