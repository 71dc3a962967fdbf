package lvm

import (
	"os"
	"strings"
	"testing"
)

// TestSharingOfADump reads what thin_dump wrote in Debian 12 of a snapshot of a
// pool's metadata: a root, the snapshot of it and a clone of that.
func TestSharingOfADump(t *testing.T) {
	f, err := os.Open("testdata/thin_dump-0.9.0.xml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := parseSharing(f, 600<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		blocks int64
		ids    []int
	}{{1, []int{1}}, {0, []int{2}}, {1, []int{2, 3}}, {46, []int{3, 2, 1}}} {
		if got := s.alone(c.ids...); got != c.blocks*65536 {
			t.Errorf("%v hold %d bytes alone, want %d blocks", c.ids, got, c.blocks)
		}
	}
}

// constructedDump has a tree that two volumes share, as later versions write it
// (def and ref). Blocks have 64 KiB.
const constructedDump = `<superblock uuid="" time="2" transaction="3" version="2" data_block_size="128" nr_data_blocks="0">
  <def name="0">
    <range_mapping origin_begin="0" data_begin="0" length="10" time="0"/>
  </def>
  <device dev_id="1" mapped_blocks="12" transaction="0" creation_time="0" snap_time="1">
    <ref name="0"/>
    <range_mapping origin_begin="10" data_begin="20" length="2" time="1"/>
  </device>
  <device dev_id="2" mapped_blocks="12" transaction="1" creation_time="1" snap_time="2">
    <ref name="0"/>
    <range_mapping origin_begin="10" data_begin="21" length="3" time="1"/>
  </device>
  <device dev_id="7" mapped_blocks="2" transaction="2" creation_time="2" snap_time="2">
    <single_mapping origin_block="0" data_block="0" time="0"/>
    <single_mapping origin_block="1" data_block="99" time="2"/>
  </device>
</superblock>
`

func TestSharing(t *testing.T) {
	s, err := parseSharing(strings.NewReader(constructedDump), 100*65536)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		blocks int64
		ids    []int
	}{
		{0, nil}, {0, []int{3}}, {1, []int{1}}, {2, []int{2}}, {1, []int{7}},
		{1 + 2 + 1 + 9, []int{1, 2}}, {2, []int{7, 1}}, {15, []int{7, 2, 1}}, {15, []int{1, 1, 2, 7, 8}},
	} {
		if got := s.alone(c.ids...); got != c.blocks*65536 {
			t.Errorf("%v hold %d bytes alone, want %d blocks", c.ids, got, c.blocks)
		}
	}
}

func TestSharingRefused(t *testing.T) {
	for what, text := range map[string]string{
		"nothing":           "",
		"half":              constructedDump[:400],
		"no end":            strings.TrimSuffix(constructedDump, "</superblock>\n"),
		"beyond the pool":   strings.Replace(constructedDump, `data_block="99"`, `data_block="100"`, 1),
		"far beyond":        strings.Replace(constructedDump, `length="3"`, `length="999999999999"`, 1),
		"no blocks":         strings.Replace(constructedDump, `data_block_size="128"`, `data_block_size="0"`, 1),
		"no size":           strings.Replace(constructedDump, `data_block_size="128" `, "", 1),
		"an unknown tree":   strings.Replace(constructedDump, `<ref name="0"/>`, `<ref name="1"/>`, 1),
		"a tree in itself":  strings.Replace(constructedDump, "</def>", `<ref name="0"/></def>`, 1),
		"an unknown word":   strings.ReplaceAll(constructedDump, "single_mapping", "other_mapping"),
		"blocks of nobody":  strings.Replace(constructedDump, "  <def", `  <single_mapping data_block="1"/><def`, 1),
		"no number":         strings.Replace(constructedDump, `dev_id="7"`, `dev_id="x"`, 1),
		"another's message": "metadata device is in use\n",
	} {
		if s, err := parseSharing(strings.NewReader(text), 100*65536); err == nil {
			t.Errorf("%s was read as %+v", what, s)
		}
	}
}
