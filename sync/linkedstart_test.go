package reconcile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"beadm/be/rooted"
)

// What the list names below what it names already is carried also where a link
// leads there, out of what the other line names.
func TestNamedBelowALink(t *testing.T) {
	for why, row := range map[string]struct{ list, spool, file string }{
		"out of the other line's":     {"/srv\n/srv/spool/cron\n", "../opt/spool", "opt/spool/cron/alice"},
		"to another place of it":      {"/srv\n/srv/spool/cron\n", "lib/spool", "srv/lib/spool/cron/alice"},
		"an absolute one":             {"/srv\n/srv/spool/cron\n", "/opt/spool", "opt/spool/cron/alice"},
		"below a pattern":             {"/srv\n/srv/spool/cron/a*\n", "/opt/spool", "opt/spool/cron/alice"},
		"out of it, and taken out":    {"/srv\n/srv/spool/cron\n!/srv/spool/cron/bob\n", "/opt/spool", "opt/spool/cron/alice"},
		"where the other is a glob's": {"/sr?\n/srv/spool/cron\n", "/opt/spool", "opt/spool/cron/alice"},
	} {
		t.Run(why, func(t *testing.T) {
			w := quickWorld(t)
			w.write("OLD", "etc/beadm/synclist", row.list)
			w.write("OLD", row.file, "first\n")
			w.write("OLD", "srv/other", "first\n")
			w.ok(os.Symlink(row.spool, w.path("OLD", "srv/spool")))
			w.begin("OLD")
			w.clone("OLD", "NEW", true)
			w.write("OLD", row.file, "by hand\n")
			w.write("OLD", "srv/other", "by hand\n")
			r := w.switchTo("OLD", "NEW", false)
			w.want("NEW", row.file, "by hand\n")
			w.want("NEW", "srv/other", "by hand\n")
			copied := slices.DeleteFunc(r.Items, func(i Item) bool { return i.Action == Shared })
			if len(r.Conflicts()) > 0 || len(copied) != 2 {
				t.Errorf("%+v", r.Items)
			}
			// What a cut sync staged there, in a directory that it made, is swept.
			temp := filepath.Join(filepath.Dir(row.file), "made", rooted.TempPrefix+"0123456789abcdef")
			w.write("NEW", temp, "")
			w.ok(w.a.Tidy(w.id("NEW"), w.root("NEW"), w.root("OLD")))
			if _, err := os.Lstat(w.path("NEW", temp)); err == nil {
				t.Error("what was staged is left")
			}
		})
	}
}
