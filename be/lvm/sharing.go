package lvm

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// sharing says what the volumes of a pool hold, by their numbers in it: for each
// set of volumes the bytes that all of these hold, and no other.
type sharing struct {
	sets []holders
}

type holders struct {
	ids   []int
	bytes int64
}

// alone is what nobody but the volumes with these numbers holds: what comes
// back when all of them go.
func (s *sharing) alone(ids ...int) int64 {
	var bytes int64
	for _, set := range s.sets {
		if !slices.ContainsFunc(set.ids, func(id int) bool { return !slices.Contains(ids, id) }) {
			bytes += set.bytes
		}
	}
	return bytes
}

// maxBlocks is the largest pool that is looked at: a number is kept in memory
// for each of its blocks.
const maxBlocks = 1 << 28

// stretch is blocks of a pool that follow one another; with ref it is those of a
// tree that several volumes share.
type stretch struct {
	begin, length uint64
	ref           string
}

// dump is what parseSharing knows while it reads.
type dump struct {
	blockBytes int64
	sets       []holders         // the first is nobody
	blocks     []int64           // of each set
	with       map[[2]int]uint32 // a set and a volume: both together
	owner      []uint32          // of each block of the pool: a set
	trees      map[string][]stretch
}

// parseSharing reads the XML that thin_dump(8) writes of the metadata of a pool
// of that many bytes.
func parseSharing(in io.Reader, size int64) (*sharing, error) {
	d := &dump{sets: []holders{{}}, blocks: []int64{0}, with: map[[2]int]uint32{}, trees: map[string][]stretch{}}
	tree, id := "", -1 // what the mappings that follow belong to
	complete := false
	for x := xml.NewDecoder(in); ; {
		token, err := x.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("thin_dump wrote what is no XML: %w", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			a := attributes{e: e}
			switch e.Name.Local {
			case "superblock":
				// nr_data_blocks is 0 where it is a snapshot of the metadata.
				err = d.superblock(a.number("data_block_size"), size)
			case "device":
				id = int(a.number("dev_id"))
			case "def":
				tree = a.text("name")
				d.trees[tree] = nil
			case "single_mapping":
				err = d.found(tree, id, stretch{begin: a.number("data_block"), length: 1})
			case "range_mapping":
				err = d.found(tree, id, stretch{begin: a.number("data_begin"), length: a.number("length")})
			case "ref":
				err = d.found(tree, id, stretch{ref: a.text("name")})
			default:
				err = fmt.Errorf("thin_dump wrote <%s>", e.Name.Local)
			}
			if err = errors.Join(a.err, err); err != nil {
				return nil, err
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "superblock":
				complete = true
			case "device":
				id = -1
			case "def":
				tree = ""
			}
		}
	}
	if !complete {
		return nil, errors.New("thin_dump wrote nothing whole")
	}
	s := &sharing{}
	for i, set := range d.sets[1:] {
		if set.bytes = d.blocks[i+1] * d.blockBytes; set.bytes > 0 {
			s.sets = append(s.sets, set)
		}
	}
	return s, nil
}

func (d *dump) superblock(sectors uint64, size int64) error {
	if d.blockBytes = int64(sectors) * 512; d.blockBytes == 0 || size/d.blockBytes > maxBlocks {
		return fmt.Errorf("a pool of %d bytes in blocks of %d sectors is not looked at", size, sectors)
	}
	d.owner = make([]uint32, size/d.blockBytes)
	return nil
}

// found adds blocks to a tree, or else to a volume.
func (d *dump) found(tree string, id int, r stretch) error {
	if _, known := d.trees[r.ref]; r.ref != "" && (!known || r.ref == tree) {
		return fmt.Errorf("thin_dump names the tree %q before it wrote it", r.ref)
	}
	switch {
	case tree != "":
		d.trees[tree] = append(d.trees[tree], r)
	case id < 0:
		return errors.New("thin_dump wrote blocks of no device")
	case r.ref != "":
		for _, r := range d.trees[r.ref] {
			if err := d.found("", id, r); err != nil {
				return err
			}
		}
	default:
		n := uint64(len(d.owner))
		if r.begin > n || r.length > n-r.begin {
			return fmt.Errorf("thin_dump wrote of the blocks %d and %d more, of %d", r.begin, r.length, n)
		}
		for b := r.begin; b < r.begin+r.length; b++ {
			was := d.owner[b]
			d.owner[b] = d.plus(was, id)
			d.blocks[was]--
			d.blocks[d.owner[b]]++
		}
	}
	return nil
}

// plus is the set of those in a set and one more.
func (d *dump) plus(set uint32, id int) uint32 {
	ids := d.sets[set].ids
	if n := len(ids); n > 0 && ids[n-1] == id {
		return set
	}
	key := [2]int{int(set), id}
	both, known := d.with[key]
	if !known {
		both = uint32(len(d.sets))
		d.sets = append(d.sets, holders{ids: append(slices.Clone(ids), id)})
		d.blocks = append(d.blocks, 0)
		d.with[key] = both
	}
	return both
}

// attributes are those of an element, all of which have to be there.
type attributes struct {
	e   xml.StartElement
	err error
}

func (a *attributes) text(name string) string {
	for _, at := range a.e.Attr {
		if at.Name.Local == name {
			return at.Value
		}
	}
	a.err = errors.Join(a.err, fmt.Errorf("thin_dump wrote <%s> without %s", a.e.Name.Local, name))
	return ""
}

func (a *attributes) number(name string) uint64 {
	text := a.text(name)
	n, err := strconv.ParseUint(text, 10, 40)
	if text != "" && err != nil {
		a.err = errors.Join(a.err, fmt.Errorf("thin_dump wrote %s=%q", name, text))
	}
	return n
}
