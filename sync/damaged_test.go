package reconcile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Content that is damaged or gone in the store holds up its own file only:
// locks arrive.
func TestDamagedContentHoldsUpNoLock(t *testing.T) {
	for name, row := range map[string]struct {
		path string // whose content is damaged
		base bool   // as NEW has it in its base; else as OLD ended with it
	}{
		"what came":                {"/etc/motd", false},
		"what both had":            {"/etc/motd", true},
		"lines that came":          {"/etc/tree/a", false},
		"lines that both had":      {"/etc/tree/a", true},
		"keys that both had":       {"/root/.ssh/authorized_keys", true},
		"groups that both had":     {"/etc/group", true},
		"passwords that both had":  {"/etc/shadow", true},
		"groups as they were left": {"/etc/group", false},
	} {
		for how, spoil := range map[string]func(path string) error{
			"damaged": func(path string) error { return os.WriteFile(path, []byte("u:h:1::::::\n"), 0o600) },
			"gone":    os.Remove,
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				w := quickWorld(t)
				w.write("OLD", "etc/beadm/synclist", "/etc/motd\n/etc/tree MERGE\n")
				w.write("OLD", "etc/motd", "shipped\n")
				w.write("OLD", "etc/tree/a", "1\n2\n3\n4\n5\n")
				w.begin("OLD")
				w.clone("OLD", "NEW", true)
				w.write("OLD", "etc/motd", "by hand\n")
				w.write("OLD", "etc/tree/a", "1\n2\n3\n4\nfive\n")
				w.write("NEW", "etc/tree/a", "one\n2\n3\n4\n5\n")
				w.edit("OLD", "root/.ssh/authorized_keys", "key one\n", "")
				w.write("NEW", "root/.ssh/authorized_keys", "key one\nkey two\nkey three\n")
				w.edit("OLD", "etc/shadow", "alice:$6", "alice:!$6")
				w.edit("OLD", "etc/group", "adm:x:4:alice,bob", "adm:x:4:bob")
				w.ok(w.a.EndRun(t.Context(), w.id("OLD"), w.root("OLD"), false))
				x, err := w.a.load()
				w.ok(err)
				id := x.Runs[0].End
				if row.base {
					id = x.BEs[w.id("NEW")].Base
				}
				m, err := w.a.store.Load(id)
				w.ok(err)
				hash := m.Get(row.path).Hash
				w.ok(spoil(filepath.Join(w.dir, "state", "blobs", hash[:2], hash)))
				r, err := w.a.Reconcile(t.Context(), Switch{From: w.id("OLD"), To: w.id("NEW"), FromRoot: w.root("OLD"), ToRoot: w.root("NEW")})
				w.ok(err)
				w.has("NEW", "etc/shadow", "alice:!$6$alice:19000:0:99999:7:::")
				if got := w.read("NEW", "etc/group"); row.path != "/etc/group" && !strings.Contains(got, "adm:x:4:bob,dave\n") {
					t.Errorf("group: %s", got)
				}
				said := len(r.Notes) > 0
				for _, item := range r.Conflicts() {
					said = said || string(item.Path) == row.path
				}
				if !said && w.read("NEW", "etc/motd") != "by hand\n" {
					t.Errorf("not said: %+v", r)
				}
			})
		}
	}
}
