package sdboot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"beadm/activate/boot/durable"
	"beadm/activate/boot/kernels"
)

// files are the names in beadm/kernels of what an entry starts.
type files struct{ kernel, initrd string }

// loaderPath is the path on the ESP.
func (files) loaderPath(name string) string { return "/beadm/kernels/" + name }

func (l *Loader) kernels() kernels.Dir {
	return kernels.Dir{Path: l.path("kernels"), Where: "the ESP", Free: l.cfg.Free, Disk: l.cfg.Disk}
}

// fileLine is what entryText writes of a kernel or an initrd.
var fileLine = regexp.MustCompile(`(?m)^(?:linux|initrd) (.*)$`)

// named are the files of ours that entries of ours start.
func named(texts []byte) ([]string, error) {
	var names []string
	for _, line := range fileLine.FindAllSubmatch(texts, -1) {
		name, ok := strings.CutPrefix(string(line[1]), files{}.loaderPath(""))
		if !ok || strings.Contains(name, "/") {
			return nil, fmt.Errorf("the entry names %q, which is no file of ours", line[1])
		}
		names = append(names, name)
	}
	if len(names) < 2 {
		return nil, errors.New("the entry names no kernel or no initrd")
	}
	return names, nil
}

// texts are all entries, also of others, and those of trials to come.
func (l *Loader) texts() ([][]byte, error) {
	var texts [][]byte
	for _, dir := range []string{l.entriesDir(), l.path("trials")} {
		list, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if e.IsDir() {
				continue
			}
			b, err := durable.Read(filepath.Join(dir, e.Name()), maxFile)
			if err != nil {
				return nil, err
			}
			texts = append(texts, b)
		}
	}
	return texts, nil
}
