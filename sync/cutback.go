package reconcile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"

	"beadm/sync/manifest"
)

// minCut is how much of what a log was it must begin with to be that log, cut
// back: two logs may well begin with the same line.
const minCut = 4096

// cutBack says how much of a log that was cut back to its beginning, and
// written to since, is what it was before; 0 where it is not known for that.
// The last unsure bytes before that were not compared: they may have been
// written since.
//
// Of a log of more than manifest.Inline bytes only the beginning is kept, and
// hashes; what lies between two of them is compared with what this side has.
func (p *planner) cutBack(path string, old, new *manifest.Entry) (same, unsure int64, err error) {
	if !new.Stored || !old.Stored && old.Begins == nil {
		return 0, 0, nil
	}
	whole := old.Hash
	if !old.Stored {
		whole = old.Begins.Blob
	}
	same, err = p.alike(whole, new.Hash)
	if err != nil {
		return 0, 0, err
	}
	if !old.Stored && same >= manifest.Inline && new.Size > same {
		if same, unsure, err = p.further(path, old, new); err != nil {
			return 0, 0, err
		}
	}
	switch {
	case same == new.Size:
	case same < minCut:
		return 0, 0, nil
	default:
		// The line that came first may begin as the one that it replaces.
		line, text, err := p.lineEnd(new.Hash, same)
		if err != nil || !text {
			return 0, 0, err
		}
		same = line
	}
	return same, unsure, nil
}

// alike is how many bytes two stored contents have in common from the start.
func (p *planner) alike(a, b string) (int64, error) {
	x, err := p.store.Open(a)
	if err != nil {
		return 0, err
	}
	defer x.Close()
	y, err := p.store.Open(b)
	if err != nil {
		return 0, err
	}
	defer y.Close()
	return common(x, y)
}

func common(a, b io.Reader) (n int64, err error) {
	x, y := bufio.NewReaderSize(a, 1<<16), bufio.NewReaderSize(b, 1<<16)
	for {
		c, err := x.ReadByte()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		d, err := y.ReadByte()
		if err == io.EOF || err == nil && c != d {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n++
	}
}

// further is cutBack behind what is kept of the beginning.
func (p *planner) further(path string, old, new *manifest.Entry) (same, unsure int64, err error) {
	f, err := p.store.Open(new.Hash)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	same = manifest.Inline
	end := min(old.Size, new.Size) // what is behind it was written since
	sum, at, hash := sha256.New(), int64(0), old.Begins.Blob
	for i, want := range old.Begins.Hashes {
		next := old.Begins.Step * int64(i+1)
		if next > end {
			break
		}
		if _, err := io.CopyN(sum, f, next-at); err != nil {
			return 0, 0, err
		}
		if at = next; hex.EncodeToString(sum.Sum(nil)) != want {
			end = next
			break
		}
		same, hash = next, want
	}
	if same >= end {
		return same, 0, nil
	}
	here, err := p.root.OpenNoFollow(path)
	if errors.Is(err, fs.ErrNotExist) {
		return same, end - same, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer here.Close()
	sum.Reset()
	if _, err := io.CopyN(sum, here, same); err == io.EOF || err == nil && hex.EncodeToString(sum.Sum(nil)) != hash {
		return same, end - same, nil
	} else if err != nil {
		return 0, 0, err
	}
	if _, err := f.Seek(same, io.SeekStart); err != nil {
		return 0, 0, err
	}
	n, err := common(io.LimitReader(f, end-same), here)
	if err != nil {
		return 0, 0, err
	}
	same += n
	return same, end - same, nil
}

// lineEnd is where the last line ends in the first n bytes of a stored content;
// text is false where there is none near, or it is no text.
func (p *planner) lineEnd(hash string, n int64) (end int64, text bool, err error) {
	f, err := p.store.Open(hash)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	from := max(0, n-1<<16)
	near := make([]byte, n-from)
	if _, err := f.ReadAt(near, from); err != nil {
		return 0, false, err
	}
	i := bytes.LastIndexByte(near, '\n')
	return from + int64(i) + 1, i >= 0 && bytes.IndexByte(near, 0) < 0, nil
}
