package main

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

var update = flag.Bool("update", false, "write testdata/schema.json anew")

// TestSchema: testdata/schema.json is what beadm schema prints, so that a change
// of what programs read is seen as one, and every command has a schema.
func TestSchema(t *testing.T) {
	const file = "../../testdata/schema.json"
	var out, errs strings.Builder
	if code := run([]string{"beadm", "schema"}, streams{out: &out, err: &errs}); code != 0 || errs.Len() > 0 {
		t.Fatalf("%d %s", code, errs.String())
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != out.String() {
		t.Errorf("what is printed with --json is not what testdata/schema.json says (%v): if that is meant, go test ./cmd/beadm -run TestSchema -update", err)
	}
	noJSON := []string{"completion", "help", "schema"} // they print what is asked for, as ever
	var leaves []string
	eachCommand(newApp(streams{}).Commands, "", func(name string, c *cli.Command) { leaves = append(leaves, name) })
	for name := range published() {
		out.Reset()
		words := append([]string{"beadm", "schema"}, strings.Fields(name)...)
		var s schema
		if code := run(words, streams{out: &out, err: &errs}); code != 0 || json.Unmarshal([]byte(out.String()), &s) != nil || s["title"] != "beadm --json "+name {
			t.Errorf("%q: %d %s", words, code, errs.String())
		}
		if !strings.HasPrefix(name, "guests") && !slices.Contains(leaves, name) {
			t.Errorf("there is a schema of %s, which is no command", name)
		}
	}
	for _, name := range leaves {
		if _, is := published()[name]; is == slices.Contains(noJSON, name) {
			t.Errorf("%s has a schema: %v", name, is)
		}
	}
	errs.Reset()
	if code := run([]string{"beadm", "schema", "nosuch"}, streams{out: &out, err: &errs}); code != 2 || !strings.Contains(errs.String(), `no schema of "nosuch"`) {
		t.Errorf("%d %s", code, errs.String())
	}
}
