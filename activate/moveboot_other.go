//go:build !linux

package activate

import (
	"context"
	"errors"
)

var errMoveBoot = errors.New("/boot is moved on Linux only")

func measureBoot(context.Context, string, string, int64) (int64, error) { return 0, errMoveBoot }
func sourceOf(string, string) error                                     { return errMoveBoot }
func mountBelowBoot(context.Context, string, string) error              { return errMoveBoot }
func (s *Session) moveBoot(context.Context, *bootMove) error            { return errMoveBoot }
