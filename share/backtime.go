package share

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"beadm/be/rooted"
)

// backFile says when the boot environment got directories of its own back: a time
// and a name a line. What is in them from before is of the shared data, which may
// have delivered or deleted it since: should they be shared again, Adopt stages
// only what is newer.
const backFile = "/var/.beadm-back"

// setBack writes down that the directory of that name is put back now, or is a
// link again. It is called when a copy is complete, before that has its place.
func setBack(r *rooted.Root, name string, is bool) error {
	was, err := backLines(r)
	if err != nil {
		return err
	}
	lines := slices.DeleteFunc(slices.Clone(was), func(line string) bool {
		_, of, _ := strings.Cut(line, " ")
		return of == name
	})
	if is {
		lines = append(lines, strconv.FormatInt(time.Now().UnixNano(), 10)+" "+name)
	}
	if slices.Equal(lines, was) {
		return nil
	}
	effect("write down what is put back")
	if len(lines) == 0 {
		return r.Remove(backFile)
	}
	return r.WriteFileAtomic(backFile, []byte(strings.Join(lines, "\n")+"\n"), rooted.Attr{Mode: 0o644})
}

// laterBack is since, or when the directory of that name was put back if that was
// later.
func laterBack(r *rooted.Root, name string, since time.Time) (time.Time, error) {
	lines, err := backLines(r)
	for _, line := range lines {
		if at, of, _ := strings.Cut(line, " "); of == name {
			n, err := strconv.ParseInt(at, 10, 64)
			if back := time.Unix(0, n); err == nil && back.After(since) {
				since = back
			}
		}
	}
	return since, err
}

func backLines(r *rooted.Root) ([]string, error) {
	data, err := r.ReadFileLimit(backFile, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.FieldsFunc(string(data), func(c rune) bool { return c == '\n' }), err
}
