package activate

import (
	"context"

	"beadm/activate/boot"
	"beadm/be"
)

// absentLoader stands for a loader that could not be opened: every use of it
// says why.
type absentLoader struct {
	kind string
	err  error
}

var _ boot.Loader = absentLoader{}

func (l absentLoader) Name() string                              { return l.kind }
func (l absentLoader) Probe(context.Context) error               { return l.err }
func (l absentLoader) Install(context.Context, boot.Entry) error { return l.err }
func (l absentLoader) Put(context.Context, boot.Entry) error     { return l.err }
func (l absentLoader) Remove(context.Context, string) error      { return l.err }
func (l absentLoader) Entries(context.Context) ([]string, error) { return nil, l.err }
func (l absentLoader) CheckEntry(context.Context, string, be.RootRef) error {
	return l.err
}
func (l absentLoader) CheckEntryWhole(context.Context, string, be.RootRef) error {
	return l.err
}
func (l absentLoader) State(context.Context) (boot.State, error) { return boot.State{}, l.err }
func (l absentLoader) Arm(context.Context, string) error         { return l.err }
func (l absentLoader) Disarm(context.Context) error              { return l.err }
func (l absentLoader) SetDefault(context.Context, string) error  { return l.err }
func (l absentLoader) ClearTried(context.Context) error          { return l.err }
func (l absentLoader) Tidy(context.Context) error                { return l.err }
