package zone

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

func (r *Runtime) exists(name string) (bool, error) {
	_, err := os.Stat(filepath.Join(r.root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (r *Runtime) read(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(r.root, name))
	return string(data), err
}
