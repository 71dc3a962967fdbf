package activate

import (
	"embed"
	"os"
	"path/filepath"
)

//go:embed units
var units embed.FS

// runtimeUnits is where systemd reads units before it reads a boot
// environment's own, and where they end with the boot (systemd.unit(5)).
const runtimeUnits = "/run/systemd/system"

// initIsSystemd says whether the running system's init is systemd. That is
// asked of the file, since boot runs before it; and since the directory of
// runtime units is how programs tell that systemd runs (sd_booted(3)), nothing
// else may make it.
func initIsSystemd() bool {
	at, err := filepath.EvalSymlinks("/sbin/init")
	return err == nil && filepath.Base(at) == "systemd"
}

// writeUnits puts embedded units, by name, at the paths below dir that files
// gives, and makes the links wants to the units of those names.
func writeUnits(dir string, files map[string]string, wants []string) error {
	for name, to := range files {
		data, err := units.ReadFile("units/" + name)
		if err != nil {
			return err
		}
		if err := writeUnit(dir, to, data); err != nil {
			return err
		}
	}
	for _, want := range wants {
		link := filepath.Join(dir, want)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("../"+filepath.Base(want), link); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

func writeUnit(dir, name string, data []byte) error {
	to := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
