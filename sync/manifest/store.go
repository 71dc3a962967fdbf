package manifest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"

	"beadm/be"
	"beadm/be/rooted"
	"beadm/be/state"
)

// Store keeps manifests and blobs.
type Store struct {
	dir    string
	under  *Store            // read where dir has nothing: a scratch store's real one
	staged map[string]string // blobs that are complete and have no name yet: hash → file
}

// ID names a stored manifest.
type ID string

var idRule = regexp.MustCompile(`^[0-9a-f]{16}$`)
var hashRule = regexp.MustCompile(`^[0-9a-f]{64}$`)

// OpenStore makes dir a store; it is made, for root only, if it is absent.
func OpenStore(dir string) (*Store, error) {
	for _, sub := range []string{"", "blobs", "manifests"} {
		path := filepath.Join(dir, sub)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the sync state: %w", err)
		}
		// It may have been there, more open: passwords are below.
		if err := os.Chmod(path, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the sync state private: %w", err)
		}
	}
	return &Store{dir: dir, staged: map[string]string{}}, nil
}

// Scratch makes a store in an empty directory that reads what s has and
// writes nothing to it, for plans that are only looked at.
func (s *Store) Scratch(dir string) (*Store, error) {
	scratch, err := OpenStore(dir)
	if err == nil {
		scratch.under = s
	}
	return scratch, err
}

func (s *Store) blobPath(hash string) string {
	return filepath.Join(s.dir, "blobs", hash[:2], hash)
}

// Blob is content on its way into the store.
type Blob struct {
	s   *Store
	f   *os.File
	sum hash.Hash
}

// NewBlob begins a blob. Finish or Abort ends it.
func (s *Store) NewBlob() (*Blob, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "blobs"), state.TempPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("cannot store content: %w", err)
	}
	return &Blob{s: s, f: f, sum: sha256.New()}, nil
}

func (b *Blob) Write(p []byte) (int, error) {
	b.sum.Write(p)
	return b.f.Write(p)
}

// Abort throws it away.
func (b *Blob) Abort() {
	b.f.Close()
	os.Remove(b.f.Name())
}

// Finish ends the content and returns its hash, by which this Store finds it
// from now on. It is durable after Flush, which Save calls.
func (b *Blob) Finish() (string, error) {
	hash := hex.EncodeToString(b.sum.Sum(nil))
	if b.s.hasWhole(hash) {
		b.Abort()
		return hash, nil
	}
	if err := b.f.Close(); err != nil {
		os.Remove(b.f.Name())
		return "", fmt.Errorf("cannot store content: %w", err)
	}
	b.s.staged[hash] = b.f.Name()
	return hash, nil
}

// fewBlobs are flushed one by one: a sync of the whole file system writes what
// everybody else has to write, too.
const fewBlobs = 16

// Flush makes durable what was stored. Content is on disk before the name that
// vouches for it: what has its name after a power cut is whole.
func (s *Store) Flush() error {
	if err := s.flush(); err != nil {
		return fmt.Errorf("cannot store content: %w", err)
	}
	return nil
}

func (s *Store) flush() error {
	if len(s.staged) == 0 {
		return nil
	}
	top := filepath.Join(s.dir, "blobs")
	few := len(s.staged) <= fewBlobs
	folders := map[string]bool{top: true}
	var temps []string
	for hash, temp := range s.staged {
		folders[filepath.Dir(s.blobPath(hash))] = true
		temps = append(temps, temp)
	}
	if err := barrier(top, few, temps); err != nil {
		return err
	}
	for dir := range folders {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for hash, temp := range s.staged {
		if err := os.Rename(temp, s.blobPath(hash)); err != nil {
			return err
		}
		s.staged[hash] = s.blobPath(hash) // should this end here, and be done again
	}
	if err := barrier(top, few, slices.Collect(maps.Keys(folders))); err != nil {
		return err
	}
	clear(s.staged)
	return nil
}

// barrier makes files or directories durable, one by one or with all else that
// is in the file system of top.
func barrier(top string, each bool, paths []string) error {
	if each {
		for _, path := range paths {
			if err := state.Sync(path); err != nil {
				return err
			}
		}
		return nil
	}
	root, err := rooted.Open(top)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.SyncFS()
}

// PutBytes stores content that is in memory, as a Blob does.
func (s *Store) PutBytes(data []byte) (string, error) {
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	return hash, s.put(hash, data)
}

func (s *Store) put(hash string, data []byte) error {
	if s.hasWhole(hash) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, "blobs"), state.TempPrefix+"*")
	if err != nil {
		return fmt.Errorf("cannot store content: %w", err)
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("cannot store content: %w", err)
	}
	s.staged[hash] = f.Name()
	return nil
}

// ErrContent is content that the store holds no more: gone, damaged, or on a
// part of the disk that cannot be read.
var ErrContent = errors.New("what was kept of it is gone or damaged")

// Open opens a blob for reading. The error is an ErrContent where it is gone.
func (s *Store) Open(hash string) (*os.File, error) {
	if !hashRule.MatchString(hash) {
		return nil, fmt.Errorf("cannot read stored content: %q is no hash", hash)
	}
	path := s.blobPath(hash)
	if temp, ok := s.staged[hash]; ok {
		path = temp
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && s.under != nil {
		return s.under.Open(hash)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read stored content %s: %w", hash, ErrContent)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read stored content: %w", err)
	}
	return f, nil
}

// Has says whether a blob is there.
func (s *Store) Has(hash string) bool {
	if !hashRule.MatchString(hash) {
		return false
	}
	return s.hasItself(hash) || s.under != nil && s.under.Has(hash)
}

func (s *Store) hasItself(hash string) bool {
	if _, ok := s.staged[hash]; ok {
		return true
	}
	_, err := os.Lstat(s.blobPath(hash))
	return err == nil
}

// hasWhole reads the blob back: what is damaged is stored again by who has it.
func (s *Store) hasWhole(hash string) bool {
	if _, ok := s.staged[hash]; ok {
		return true
	}
	f, err := os.Open(s.blobPath(hash))
	if err != nil {
		return false
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return err == nil && hex.EncodeToString(sum.Sum(nil)) == hash
}

// Read returns a blob, which was read back whole and is what its name says; it
// fails with an ErrContent where it is not.
func (s *Store) Read(hash string) ([]byte, error) {
	f, err := s.Open(hash)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if errors.Is(err, unix.EIO) { // a checksum of the file system's
		return nil, fmt.Errorf("cannot read stored content %s: %w", hash, errors.Join(ErrContent, err))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read stored content: %w", err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != hash {
		return nil, fmt.Errorf("cannot read stored content %s: %w", hash, ErrContent)
	}
	return data, nil
}

// Save stores a manifest durably, and before it all that was stored, and
// returns its name.
func (s *Store) Save(m *Manifest) (ID, error) {
	if err := s.Flush(); err != nil {
		return "", err
	}
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return "", fmt.Errorf("cannot store a manifest: %w", err)
	}
	var b [8]byte
	rand.Read(b[:])
	id := ID(hex.EncodeToString(b[:]))
	if err := state.WriteFile(s.manifestPath(id), append(data, '\n')); err != nil {
		return "", err
	}
	return id, nil
}

func (s *Store) manifestPath(id ID) string {
	return filepath.Join(s.dir, "manifests", string(id)+".json")
}

// Load reads a manifest back.
func (s *Store) Load(id ID) (*Manifest, error) {
	if !idRule.MatchString(string(id)) {
		return nil, fmt.Errorf("cannot read a manifest: %q is no name of one", id)
	}
	data, err := os.ReadFile(s.manifestPath(id))
	if errors.Is(err, fs.ErrNotExist) && s.under != nil {
		return s.under.Load(id)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read a manifest: %w", err)
	}
	m := new(Manifest)
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(m); err != nil {
		return nil, fmt.Errorf("cannot read the manifest %s: %w", id, err)
	}
	if m.Version > Version {
		return nil, be.E(be.Other, "the manifest %s has format %d, written by a newer beadm; this one reads up to %d", id, m.Version, Version)
	}
	if err := m.List.Compile(); err != nil {
		return nil, fmt.Errorf("cannot read the manifest %s: %w", id, err)
	}
	m.reindex()
	return m, nil
}

// Lost says of an error of Load that the manifest is not there or damaged: what
// it said is not known any more.
func Lost(err error) bool { return errors.Is(err, fs.ErrNotExist) || state.Damaged(err) }

// Sweep removes manifests that are not in keep, then blobs that no manifest
// left names and that are not in blobs. Interrupted, it has removed too
// little.
func (s *Store) Sweep(keep map[ID]bool, blobs map[string]bool) error {
	if err := s.Flush(); err != nil {
		return err
	}
	used := map[string]bool{}
	for h := range blobs {
		used[h] = true
	}
	files, err := os.ReadDir(filepath.Join(s.dir, "manifests"))
	if err != nil {
		return fmt.Errorf("cannot sweep the sync state: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(s.dir, "manifests", f.Name())
		id := ID(f.Name()[:max(0, len(f.Name())-len(".json"))])
		if !keep[id] {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("cannot sweep the sync state: %w", err)
			}
			continue
		}
		m, err := s.Load(id)
		if Lost(err) {
			continue
		}
		if err != nil {
			return err // better too much than what one needs
		}
		for _, e := range m.Entries {
			if e.Stored {
				used[e.Hash] = true
			}
			if e.Tail != nil {
				used[e.Tail.Hash] = true
			}
			if e.Begins != nil {
				used[e.Begins.Blob] = true
			}
			for _, list := range e.Before {
				for _, h := range list {
					used[h] = true
				}
			}
		}
	}
	top := filepath.Join(s.dir, "blobs")
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || used[d.Name()] {
			return err
		}
		return os.Remove(path)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot sweep the sync state: %w", err)
	}
	return nil
}
