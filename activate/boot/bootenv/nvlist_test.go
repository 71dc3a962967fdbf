package bootenv

import (
	"os"
	"testing"
)

// The texts are constructed after nvlist_print of libnvpair.c (OpenZFS and illumos).
func TestParseLabel(t *testing.T) {
	for file, want := range map[string]string{
		"constructed-label-armed.txt": "zfs:tank/ROOT/new:",
		"constructed-label-raw.txt":   "",
	} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		pairs, ok := parseLabel(string(text))
		if !ok || pairs["freebsd:bootonce"] != want {
			t.Errorf("%s: %q %v, want %q", file, pairs["freebsd:bootonce"], ok, want)
		}
	}
	for _, text := range []string{"", "error: 5\n", "zfs:tank/ROOT/new:\n", "nvlist version: 0\n\ta = 1\n\ta = 2\n"} {
		if _, ok := parseLabel(text); ok {
			t.Errorf("%q passes for a label", text)
		}
	}
}

func TestDataset(t *testing.T) {
	for token, want := range map[string]string{
		"zfs:tank/ROOT/new:":   "tank/ROOT/new",
		"zfs:tank/ROOT/new\n":  "tank/ROOT/new", // boot1.efi
		"":                     "",
		"/boot/loader -s":      "",
		"disk0p1:/boot/loader": "",
	} {
		if got := Dataset(token); got != want {
			t.Errorf("%q names %q, want %q", token, got, want)
		}
	}
}
