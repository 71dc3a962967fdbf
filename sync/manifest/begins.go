package manifest

import "io"

// maxBegins bounds how many hashes are kept of the beginnings of one log.
const maxBegins = 512

// next is the length at which the next hash is due.
func (b *Begins) next() int64 { return b.Step * int64(len(b.Hashes)+1) }

func (b *Begins) add(hash string) {
	if b.Hashes = append(b.Hashes, hash); b.Blob == "" {
		b.Blob = hash
	}
	if len(b.Hashes) < maxBegins {
		return
	}
	var every []string // second one
	for i := 1; i < len(b.Hashes); i += 2 {
		every = append(every, b.Hashes[i])
	}
	b.Step, b.Hashes = 2*b.Step, every
}

// keepBegins keeps what has been read of how a log begins, if it is large.
func (t *Taker) keepBegins(f io.ReadSeeker, b *Begins, e *Entry) error {
	if e.Size <= Inline {
		return nil
	}
	if !t.Store.Has(b.Blob) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		blob, err := t.Store.NewBlob()
		if err != nil {
			return err
		}
		if _, err := io.Copy(blob, io.LimitReader(f, Inline)); err != nil {
			blob.Abort()
			return err
		}
		hash, err := blob.Finish()
		if err != nil {
			return err
		}
		if hash != b.Blob {
			return nil // written to between the two readings
		}
	}
	e.Begins = b
	return nil
}
