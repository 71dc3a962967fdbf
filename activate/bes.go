package activate

import (
	"context"
	"errors"
	"fmt"
	"os"

	"beadm/be"
	"beadm/be/journal"
)

// Mount mounts a boot environment that is not running and returns where. A
// read-write one gets the staging directory in place of the shared data.
func (t *Target) Mount(ctx context.Context, name, dir string, readOnly, dryRun bool) (string, error) {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return "", err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return "", err
	}
	if !readOnly {
		if err := Allow(s.State, "mount", b.UUID); err != nil {
			return "", err
		}
	}
	if b.Mountpoint != "" {
		return "", be.E(be.InUse, "%s is mounted at %s already", name, b.Mountpoint)
	}
	made := false
	if dir == "" {
		dir = s.path("be", b.UUID.ID())
		if b.UUID == "" {
			dir = s.path("be", be.NewToken())
		}
		if !dryRun {
			if err := s.private(dir); err != nil {
				return "", err
			}
			made = true
		}
	} else if info, err := os.Stat(dir); err != nil {
		return "", be.E(be.NotFound, "cannot mount %s: %w", name, err)
	} else if !info.IsDir() {
		return "", be.E(be.Usage, "cannot mount %s: %s is not a directory", name, dir)
	} else if inside, err := os.ReadDir(dir); err != nil {
		return "", fmt.Errorf("cannot mount %s: %w", name, err)
	} else if len(inside) > 0 {
		return "", be.E(be.InUse, "cannot mount %s: the directory %s is not empty", name, dir)
	}
	if dryRun {
		s.Report.Would("mount " + name + " at " + dir)
		return "", nil
	}
	if err := s.mountStaged(ctx, name, dir, readOnly); err != nil {
		if made {
			os.Remove(dir)
		}
		return "", err
	}
	return dir, nil
}

// Unmount undoes Mount.
func (t *Target) Unmount(ctx context.Context, name string, force, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if b.Running {
		return be.E(be.InUse, "cannot unmount %s: it is running", name)
	}
	if b.Mountpoint == "" {
		s.Report.Note("%s is not mounted", name)
		return nil
	}
	if dryRun {
		s.Report.Would("unmount " + name + " from " + b.Mountpoint)
		return nil
	}
	if err := s.unmountStaged(ctx, name, b.Mountpoint, force); err != nil {
		return err
	}
	os.Remove(s.path("be", b.UUID.ID()))
	return nil
}

// mountStaged mounts a boot environment at dir with the staging directory
// over its /var/share.
func (s *Session) mountStaged(ctx context.Context, name, dir string, readOnly bool) error {
	if err := s.Store.Mount(ctx, name, dir, readOnly); err != nil {
		return err
	}
	if readOnly {
		return nil
	}
	if err := s.stage(ctx, dir); err != nil {
		return errors.Join(err, s.Store.Unmount(context.WithoutCancel(ctx), name, true))
	}
	return nil
}

func (s *Session) unmountStaged(ctx context.Context, name, dir string, force bool) error {
	if err := s.unstage(ctx, dir); err != nil {
		return err
	}
	return s.Store.Unmount(ctx, name, force)
}

// room is what a clone and an activation need at most, in bytes: properties,
// manifests, a journal, and a kernel's worth of slack.
const room = 64 << 20

func (s *Session) roomFor(ctx context.Context, what string) error {
	free, err := s.Store.Free(ctx)
	if err != nil {
		return err
	}
	if free < room {
		return be.E(be.Undone, "cannot %s: %s has %d MiB free and %d are needed; nothing was changed", what, s.Store.Location(), free>>20, room>>20)
	}
	return nil
}

func (s *Session) printPlan(plan journal.Plan) {
	for i, step := range plan.Steps {
		mark := ""
		if i == plan.Commit || plan.Commit < 0 && i == len(plan.Steps)-1 {
			mark = " (the commit)"
		}
		s.Report.Would(step.Name + mark)
	}
}

// Describe gives a boot environment a text.
func (t *Target) Describe(ctx context.Context, name, text string, dryRun bool) error {
	s, err := t.write(ctx, dryRun)
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := s.find(ctx, name)
	if err != nil {
		return err
	}
	if err := Allow(s.State, "describe", b.UUID); err != nil {
		return err
	}
	if dryRun {
		s.Report.Would(fmt.Sprintf("describe %s as %q", name, text))
		return nil
	}
	return s.Store.Describe(ctx, name, text)
}
