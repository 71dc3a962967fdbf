package activate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"beadm/share"
)

// followShare is share.Follow in the root that runs, whose kernel has to learn
// of it too.
func (s *Session) followShare(ctx context.Context, moving []string) error {
	reload, err := share.Follow(ctx, s.Root, moving)
	if err != nil || !reload || s.Root != "/" {
		return err
	}
	return reloadAppArmor(ctx)
}

// reloadAppArmor has the profiles compiled and loaded again, if the kernel
// enforces any.
func reloadAppArmor(ctx context.Context) error {
	if on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || !bytes.HasPrefix(on, []byte("Y")) {
		return nil
	}
	// A machine with hundreds of profiles compiles for half a minute.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	argv := []string{"apparmor_parser", "--replace", "/etc/apparmor.d"}
	if initIsSystemd() {
		argv = []string{"systemctl", "try-reload-or-restart", "apparmor.service"} // it knows of snap's, too
	}
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return nil // nothing loads any here
	}
	if err != nil {
		return fmt.Errorf("cannot have AppArmor's profiles loaded again, which services may need to reach the shared directories: %s: %w: %s", filepath.Base(argv[0]), err, bytes.TrimSpace(out))
	}
	return nil
}
