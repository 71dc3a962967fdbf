package reconcile

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be/rooted"
)

// A boot environment that has no room for all that comes has none of it, and
// nothing is left there; with room it gets it.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	for fstype, img := range map[string]string{"ext4": "mkfs.ext4 -q -N 400", "btrfs": "mkfs.btrfs -q -M"} {
		t.Run(fstype, func(t *testing.T) {
			w, name := quickWorld(t), "NEW"
			dir := w.root(name)
			w.ok(os.Mkdir(dir, 0o755))
			sh := "truncate -s 110M " + dir + ".img && " + img + " " + dir + ".img && mount -o loop " + dir + ".img " + dir
			if out, err := exec.Command("sh", "-c", sh).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			defer exec.Command("umount", dir).Run()
			w.write("OLD", "etc/beadm/synclist", "/etc/tree MERGE\n")
			w.begin("OLD")
			if out, err := exec.Command("cp", "-a", w.root("OLD")+"/.", dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			w.ok(w.a.Cloned(t.Context(), w.id(name), w.id("OLD"), Snapshot{Root: dir}, true))
			w.ok(os.WriteFile(filepath.Join(dir, "filler"), bytes.Repeat([]byte("x"), 80<<20), 0o600))
			text := strings.Repeat("0123456789abcdef", 1<<15)
			for i := range 60 {
				w.write("OLD", "etc/tree/d"+string(rune('a'+i%26))+"/"+strings.Repeat("f", 1+i/26), text)
			}
			w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
			w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
			before := w.read(name, "etc/shadow")
			sw := Switch{From: w.id("OLD"), To: w.id(name), ToRoot: dir}
			_, err := w.a.Reconcile(t.Context(), sw)
			if err == nil || !strings.Contains(err.Error(), "no space") {
				t.Fatalf("%v", err)
			}
			if got := tree(t, dir); strings.Contains(got, rooted.TempPrefix) || strings.Contains(got, "0123456789") {
				t.Errorf("left: %.2000s", got)
			}
			if got := w.read(name, "etc/shadow"); got != before {
				t.Errorf("half of it: %s", got)
			}
			w.ok(os.Remove(filepath.Join(dir, "filler")))
			_, err = w.a.Reconcile(t.Context(), sw)
			w.ok(err)
			w.has(name, "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
			w.want(name, "etc/tree/da/f", text)
		})
	}
}
