package kernels

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// From opens the kernel and the initrd of those names in another Dir, and
// fails if one is not what its name says. The caller closes the Source.
func From(d Dir, names []string) (*Source, error) {
	s := &Source{}
	seen := 0
	for _, name := range names {
		what, want, _ := strings.Cut(name, "-")
		at := slices.Index([]string{"linux", "initrd"}, what)
		if at < 0 || len(want) != sumLength || strings.ContainsAny(name, "/\\") {
			s.Close()
			return nil, fmt.Errorf("%q is no kernel or initrd of ours", name)
		}
		if s.files[at].name == name {
			continue
		}
		if s.files[at].name != "" {
			s.Close()
			return nil, fmt.Errorf("an entry names both %s and %s", s.files[at].name, name)
		}
		f, err := os.Open(d.path(name))
		if err != nil {
			s.Close()
			return nil, err
		}
		s.files[at] = file{f: f, name: name}
		h := sha256.New()
		if s.files[at].size, err = io.Copy(h, f); err != nil {
			s.Close()
			return nil, err
		}
		if s.files[at].sum = hex.EncodeToString(h.Sum(nil)); !strings.HasPrefix(s.files[at].sum, want) {
			s.Close()
			return nil, fmt.Errorf("%s is damaged", d.path(name))
		}
		seen++
	}
	if seen != 2 {
		s.Close()
		return nil, fmt.Errorf("an entry names no kernel or no initrd")
	}
	return s, nil
}
