package activate

import "context"

// startUnit has systemd start a unit and does not wait for it.
func startUnit(ctx context.Context, unit string) error {
	_, err := systemctl(ctx, "start", "--no-block", unit)
	return err
}
