package share

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"beadm/be"
	copier "beadm/be/copy"
)

// onLook is told when a folder in use has been looked at, or is about to be.
// Tests use it then.
var onLook func()

func looked() {
	if onLook != nil {
		onLook()
	}
}

// isMaildir says that a directory has the three of a Maildir
// (https://cr.yp.to/proto/maildir.html).
func isMaildir(dir *os.File) bool {
	for _, name := range []string{"cur", "new", "tmp"} {
		if st, err := lstat(dir, name); err != nil || kindOf(st) != unix.S_IFDIR {
			return false
		}
	}
	return true
}

// messageName is a message's name without its flags, by which it is known
// wherever it is moved. Some file systems have ; for the colon.
func messageName(name string) string {
	if i := strings.IndexAny(name, ":;"); i > 0 {
		return name[:i]
	}
	return name
}

// maildir brings back the messages that are neither in new nor in cur, whatever
// their flags are. Of other files (the lists of IMAP servers) those that are
// there stay; folders in it are looked at as any directory.
func (r *restoring) maildir(src, dst *os.File, at []string) error {
	have := map[string]bool{}
	// A message goes from new to cur, and in cur from one name to another, which
	// a look at the directory meanwhile may miss: in this order, and twice.
	for _, name := range []string{"new", "cur", "cur"} {
		looked()
		sub, err := openSub(dst, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		names, err := namesIn(sub)
		sub.Close()
		if err != nil {
			return err
		}
		for _, m := range names {
			have[messageName(m)] = true
		}
	}
	names, err := namesIn(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		st, err := lstat(src, name)
		if err != nil {
			return err
		}
		switch _, there := lstat(dst, name); {
		case name == "tmp":
			if err := r.directory(src, dst, name); err != nil {
				return err
			}
		case name == "cur" || name == "new":
			if err := r.messages(src, dst, name, have); err != nil {
				return err
			}
		case kindOf(st) == unix.S_IFDIR || there != nil:
			if err := r.entry(src, dst, name, at); err != nil {
				return err
			}
		default:
			r.res.Same++
		}
	}
	return nil
}

// directory makes one if it is not there.
func (r *restoring) directory(src, dst *os.File, name string) error {
	if r.o.DryRun {
		return nil
	}
	sub, err := openSub(src, name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return makeDir(sub, dst, name)
}

func (r *restoring) messages(src, dst *os.File, name string, have map[string]bool) error {
	if err := r.directory(src, dst, name); err != nil {
		return err
	}
	from, err := openSub(src, name)
	if err != nil {
		return err
	}
	defer from.Close()
	names, err := namesIn(from)
	if err != nil {
		return err
	}
	into, err := openSub(dst, name)
	if r.o.DryRun && errors.Is(err, fs.ErrNotExist) {
		return r.countAll(from)
	}
	if err != nil {
		return err
	}
	defer into.Close()
	if err := r.sweep(into); err != nil {
		return err
	}
	for _, m := range names {
		if have[messageName(m)] {
			r.res.Same++
			continue
		}
		if err := r.bring(from, into, m); err != nil {
			return err
		}
	}
	return nil
}

// isMH says that a directory is an MH folder (mh-mail(5), mh-sequence(5)).
func isMH(dir *os.File) bool {
	st, err := lstat(dir, ".mh_sequences")
	return err == nil && kindOf(st) == unix.S_IFREG
}

// mh brings back the messages whose content is nowhere in the folder: whoever
// packs it gives all of them other numbers. One whose number another message
// has now gets the next that is free.
func (r *restoring) mh(src, dst *os.File, at []string) error {
	have := map[[sha256.Size]byte]bool{}
	last := 0
	names, err := namesIn(dst)
	if err != nil {
		return err
	}
	for _, name := range names {
		n, is := messageNumber(name)
		if !is {
			continue
		}
		last = max(last, n)
		if sum, err := sumOf(dst, name); err == nil {
			have[sum] = true
		}
	}
	if names, err = namesIn(src); err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int { // by number
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		n, is := messageNumber(name)
		if !is {
			if st, err := lstat(src, name); err == nil && kindOf(st) == unix.S_IFREG {
				if _, err := lstat(dst, name); err == nil {
					r.res.Same++ // .mh_sequences is of the messages that are there
					continue
				}
			}
			if err := r.entry(src, dst, name, at); err != nil {
				return err
			}
			continue
		}
		sum, err := sumOf(src, name)
		if err != nil {
			return err
		}
		if have[sum] {
			r.res.Same++
			continue
		}
		to := name
		if _, err := lstat(dst, name); err == nil {
			to = strconv.Itoa(last + 1)
		}
		looked()
		last = max(last, n, atoi(to))
		have[sum] = true
		r.res.Brought++
		if r.o.DryRun {
			continue
		}
		effect("bring back " + name)
		err = copier.Node(src, name, dst, to, copier.Options{})
		for i := 0; errors.Is(err, fs.ErrExist); i++ { // a message came meanwhile
			if i == 1000 {
				return be.E(be.InUse, "messages come into the folder faster than it can be restored: do it again")
			}
			last++
			err = copier.Node(src, name, dst, strconv.Itoa(last), copier.Options{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func messageNumber(name string) (int, bool) {
	n, err := strconv.Atoi(name)
	return n, err == nil && n > 0 && strconv.Itoa(n) == name
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }

func sumOf(dir *os.File, name string) (sum [sha256.Size]byte, err error) {
	f, err := openRegular(dir, name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
