//go:build linux

package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"beadm/cmd/beadm/render"
)

// TestTree: who was made from whom, in each form.
func TestTree(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "-e", "new", "newer")
	m.ok("snapshot", "new@kept")
	m.ok("create", "-e", "new@kept", "kept")
	m.ok("create", "--empty", "bare")
	var shape []string
	for _, line := range strings.Split(strings.TrimRight(m.ok("tree"), "\n"), "\n")[1:] {
		name, rest, _ := strings.Cut(line, "  2")
		name = strings.TrimRight(strings.TrimSuffix(strings.TrimRight(name, " "), "-"), " ")
		shape = append(shape, name)
		if strings.HasSuffix(name, "kept") != strings.HasSuffix(rest, " kept") {
			t.Errorf("the snapshot: %q", line)
		}
	}
	want := []string{"debian      NR", "`- new", "   |- newer", "   `- kept", "bare"}
	if strings.Join(shape, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, not %q", shape, want)
	}
	var list []render.Descent
	if err := json.Unmarshal([]byte(m.ok("tree", "--json")), &list); err != nil || len(list) != 5 || list[3].Parent != "new" || list[3].Snapshot != "kept" || list[3].Depth != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	dec, texts := xml.NewDecoder(strings.NewReader(m.ok("tree", "--svg"))), 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "text" {
			texts++
		}
	}
	if texts != 5 {
		t.Errorf("%d names in the picture", texts)
	}
	m.refused(2, "give one", "tree", "--svg", "--json")
	m.refused(2, "", "tree", "new")

	// What is left stands where the one it came from stood, or at the edge.
	m.ok("destroy", "-F", "new")
	if out := m.ok("tree"); strings.Contains(out, " new ") || !strings.Contains(out, "newer") || !strings.Contains(out, "kept") {
		t.Errorf("after destroy:\n%s", out)
	}
}
