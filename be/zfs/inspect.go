package zfs

import (
	"context"
	"fmt"

	"beadm/be"
)

// Inspect finds datasets of boot environments that something else mounts:
// zfs mount -a and zfs-mount-generator(8) take those with canmount=on, and with
// legacy the line of whatever fstab runs.
func (s *Store) Inspect(ctx context.Context) ([]be.Finding, error) {
	t, err := s.scan(ctx)
	if err != nil {
		return nil, problem(err, "cannot look at %s", s.root)
	}
	return inspect(t, s), nil
}

func inspect(t *tree, s *Store) (list []be.Finding) {
	for _, top := range s.environments(t) {
		if holder := t.away[top.name]; holder != "" {
			list = append(list, be.Finding{ID: "bootpool", Severity: be.FindingError,
				Text:   fmt.Sprintf("the /boot of %s is in %s, which is not there", top.name, holder),
				Remedy: "import that pool"})
		} else if holder := top.local(propBoot); holder != "" && t.boots[top.name] == "" && top.local(propIncomplete) == "" {
			list = append(list, be.Finding{ID: "bootpool", Severity: be.FindingError,
				Text:   fmt.Sprintf("the /boot of %s was in %s, and is gone", top.name, holder),
				Remedy: "destroy the boot environment, or, if /boot is in its root now, zfs inherit " + propBoot + " " + top.name})
		}
		for _, d := range t.parts(top.name) {
			at := d.value("mountpoint")
			switch {
			case d.value("canmount") == "on" && at != "none" && at != "legacy" && top.name != s.now:
				list = append(list, be.Finding{ID: "canmount", Severity: be.FindingError,
					Text:   fmt.Sprintf("%s has canmount=on: the next boot mounts it at %s, over what runs", d.name, at),
					Remedy: "zfs set canmount=noauto " + d.name})
			case at == "legacy" && d != top && d.name != t.boots[top.name]:
				list = append(list, be.Finding{ID: "legacy", Severity: be.FindingWarning,
					Text:   fmt.Sprintf("%s has mountpoint=legacy: a clone of it is mounted by no fstab but one that names it", d.name),
					Remedy: "zfs set mountpoint=DIRECTORY canmount=noauto " + d.name + ", and take its line out of fstab"})
			}
		}
	}
	return list
}
