package illumos

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode"

	"beadm/be/rooted"
)

// menu keeps menu.lst(5) of the pool, POOL/boot/menu.lst, from which the
// loader's menu lists boot environments. Where the pool's own file system is
// not mounted, or has no such file, there is none to keep.
func (s system) menu(ctx context.Context, ds, title string, effect func(string, func() error) error) error {
	pool, _, _ := strings.Cut(ds, "/")
	out, err := s.run(ctx, "zfs", "get", "-Hp", "-o", "value", "mounted,mountpoint", pool)
	if err != nil {
		return err
	}
	mounted, dir, _ := strings.Cut(strings.TrimSuffix(out, "\n"), "\n")
	if mounted != "yes" || !filepath.IsAbs(dir) {
		return nil
	}
	root, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Stat(menuFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := root.ReadFile(menuFile)
	if err != nil {
		return err
	}
	text := without(string(old), ds)
	if title != "" {
		text = with(string(old), ds, title)
	}
	if text == string(old) {
		return nil
	}
	attr := rooted.Attr{Mode: info.Mode, UID: int(info.UID), GID: int(info.GID)}
	return effect("write menu.lst", func() error { return root.WriteFileAtomic(menuFile, []byte(text), attr) })
}

const menuFile = "/boot/menu.lst"

// An entry of menu.lst(5) is two lines: "title NAME" and "bootfs DATASET" or
// "chain DEVICE".

// with has an entry of ds at its end, unless it has one: that may have a title
// that somebody chose.
func with(text, ds, title string) string {
	for line := range strings.Lines(text) {
		if bootfsOf(line) == ds {
			return text
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + "title " + oneLine(title, ds) + "\nbootfs " + ds + "\n"
}

// without has none, and all else as it was.
func without(text, ds string) string {
	var out []string
	for line := range strings.Lines(text) {
		if bootfsOf(line) != ds {
			out = append(out, line)
			continue
		}
		if n := len(out); n > 0 && strings.HasPrefix(out[n-1], "title ") {
			out = out[:n-1]
		}
	}
	return strings.Join(out, "")
}

func bootfsOf(line string) string {
	f := strings.Fields(line)
	if len(f) == 2 && f[0] == "bootfs" {
		return f[1]
	}
	return ""
}

// oneLine is what may stand behind "title ", or else the dataset's name.
func oneLine(title, ds string) string {
	clean := strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, title)
	if clean = strings.TrimSpace(clean); clean == "" || len(clean) > 100 {
		return ds
	}
	return clean
}
