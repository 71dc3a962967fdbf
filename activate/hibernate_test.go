package activate

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The keys are those of systemd-sleep.conf(5) that end in a hibernation.
func TestNoHibernation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sleep.conf.d", filepath.Base(noHibernation))
	if err := dropNoHibernation(file); err != nil {
		t.Error(err)
	}
	for range 2 { // one that a cut left is no obstacle
		if err := putNoHibernation(file); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(file, nil, 0o644)
	}
	if err := putNoHibernation(file); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	section, got := "", map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			got[section+key] = value
		} else if strings.HasPrefix(line, "[") {
			section = line
		}
	}
	for _, key := range []string{"AllowHibernation", "AllowHybridSleep", "AllowSuspendThenHibernate"} {
		if got["[Sleep]"+key] != "no" {
			t.Errorf("%s is %q", key, got["[Sleep]"+key])
		}
	}
	if _, ok := got["[Sleep]AllowSuspend"]; ok {
		t.Error("suspending to memory is nobody's harm")
	}
	if err := dropNoHibernation(file); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Error(err)
	}
}
