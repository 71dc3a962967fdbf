package activate

import (
	"context"

	"beadm/be"
)

// opens says that the store makes read-only boot environments writable while
// beadm changes them.
func (s *Session) opens() bool {
	_, ok := s.Store.(be.Sealer)
	return ok
}

// unseal makes what runs writable, if it is read-only, until seal is called. It
// is not nil, whatever the error.
func (s *Session) unseal(ctx context.Context, running be.BE) (seal func(), err error) {
	sealer, ok := s.Store.(be.Sealer)
	if !ok || !running.ReadOnly {
		return func() {}, nil
	}
	return func() {
		if err := sealer.Seal(context.WithoutCancel(ctx), running.Name); err != nil {
			s.Report.Warn("%v", err)
		}
	}, sealer.Unseal(ctx, running.Name)
}
