package nspawn

import (
	"os"
	"path/filepath"
	"testing"

	"beadm/activate/guest"
)

// A machine that reboots has no process for a moment, in which its service is
// about to start it again: it is stopped all the same.
func TestStopOfAMachineThatReboots(t *testing.T) {
	for state, want := range map[string]string{
		"activating": "is-active -- systemd-nspawn@none.service\nstop -- systemd-nspawn@none.service\n",
		"inactive":   "is-active -- systemd-nspawn@none.service\n",
	} {
		dir := t.TempDir()
		said := filepath.Join(dir, "said")
		script := "#!/bin/sh\necho \"$@\" >>" + said + "\n[ $1 = is-active ] && echo " + state + " && exit 3\nexit 0\n"
		if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		r := New(Config{Dir: dir, LogDir: dir, Systemd: true})
		if err := r.Stop(t.Context(), guest.Guest{Name: "none", Root: filepath.Join(dir, "none")}); err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(said)
		if string(got) != want {
			t.Errorf("%s: systemctl was called with %q", state, got)
		}
	}
}
