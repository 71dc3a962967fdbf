package share

import (
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"beadm/be/rooted"
)

// onEffect is told of every effect before it happens. Tests die there.
var onEffect func(what string)

func effect(what string) {
	if onEffect != nil {
		onEffect(what)
	}
}

// noExchange makes tests go the way of file systems that cannot.
var noExchange bool

func exchange(r *rooted.Root, a, b string) error {
	if noExchange {
		return errors.ErrUnsupported
	}
	return r.Exchange(a, b)
}

func itoa(n int) string { return strconv.Itoa(n) }

// cannotExchange tells a file system without renameat2's flags.
func cannotExchange(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

func changed(dir *os.File, name string) (time.Time, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return time.Unix(st.Ctim.Unix()), err
}
