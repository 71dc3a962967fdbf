//go:build !linux && !freebsd

package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Pack is for systems whose attributes can be read.
func Pack(context.Context, *os.File, io.Writer, Archive, Options) (Result, error) {
	return Result{}, fmt.Errorf("no archive is made on this system: %w", errors.ErrUnsupported)
}

// Unpack is for systems whose attributes can be set.
func Unpack(context.Context, io.Reader, *os.File, func(*os.File, string) error, Options) (Archive, Result, error) {
	return Archive{}, Result{}, fmt.Errorf("no archive is unpacked on this system: %w", errors.ErrUnsupported)
}
