package activate

import (
	"fmt"
	"regexp"
)

const bootPoolUnit = "beadm-boot-pool.service"

// unitWord is what can be part of a unit's name as it is.
var unitWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// PutBootPoolUnits has systemd mount /boot of what runs by beadm, once the pool
// that it is in is imported, and by nothing else.
func PutBootPoolUnits(pool string) error {
	if !initIsSystemd() {
		return nil
	}
	if err := putBootPoolUnits(runtimeUnits, pool); err != nil {
		return fmt.Errorf("cannot have /boot mounted from pool %s: %w", pool, err)
	}
	return nil
}

func putBootPoolUnits(dir, pool string) error {
	if unitWord.MatchString(pool) {
		// OpenZFS' guides have a unit for the one pool, which need not be before
		// zfs-import.target.
		text := fmt.Sprintf("[Unit]\nAfter=zfs-import-%s.service\n", pool)
		if err := writeUnit(dir, bootPoolUnit+".d/pool.conf", []byte(text)); err != nil {
			return err
		}
	}
	return writeUnits(dir, map[string]string{bootPoolUnit: bootPoolUnit, "boot.mount": "boot.mount"},
		[]string{"local-fs.target.wants/" + bootPoolUnit})
}
