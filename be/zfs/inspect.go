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
	list := inspect(t, s)
	boot, err := s.onBoot()
	if owner := t.bootOf(boot); err == nil && boot != "" && owner != "" && owner != s.now {
		list = append(list, be.Finding{ID: "bootpool", Severity: be.FindingError,
			Text:   fmt.Sprintf("on /boot of what runs is %s, the /boot of %s: a kernel that is installed would be that one's", boot, owner),
			Remedy: "umount /boot, and have systemctl restart beadm-boot-pool mount its own; take the line of /boot out of fstab"})
	}
	return list, nil
}

func inspect(t *tree, s *Store) (list []be.Finding) {
	for _, top := range s.environments(t) {
		if holder := t.away[top.name]; holder != "" {
			text, remedy := "is not there", "import that pool, and have systemctl restart beadm-boot-pool mount it"
			if why := t.why[holder]; why != "" {
				text, remedy = "cannot be read: "+why, "mend that pool"
			}
			list = append(list, be.Finding{ID: "bootpool", Severity: be.FindingError,
				Text:   fmt.Sprintf("the /boot of %s is in %s, which %s", top.name, holder, text),
				Remedy: remedy + "; if it is lost, zfs inherit " + propBoot + " " + top.name})
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
