//go:build linux

package share

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A PutBack that is cut anywhere, or came to its end, is taken back as if it had
// not been, by a TakeBack that may be cut too: links, what was staged, and a
// directory of the boot environment's own.
func TestTakeBack(t *testing.T) {
	const at = `find . -printf '%p %y %m %l\n' | sort; find . -type f -exec sha256sum {} + | sort`
	look := func(t *testing.T, root string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", at)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	names := []string{"mail", "log", "opt+x"}
	// until does f and ends it before its nth effect, as a kill does.
	until := func(n int, f func() error) (err error, cut bool) {
		type end struct{}
		onEffect = func(string) {
			if n--; n == 0 {
				panic(end{})
			}
		}
		defer func() {
			onEffect = nil
			if r := recover(); r != nil {
				if _, ok := r.(end); !ok {
					panic(r)
				}
				cut = true
			}
		}()
		return f(), false
	}
	for _, without := range []bool{false, true} {
		t.Run(fmt.Sprint("without exchange ", without), func(t *testing.T) {
			noExchange = without
			defer func() { noExchange = false }()
			ctx := context.Background()
			live := clone(t, `mkdir -p mail log opt+x; echo letter >mail/alice; echo line >log/syslog; echo data >opt+x/data`)
			for n, last := 1, false; !last; n++ {
				root := clone(t, linkedClone+`; mkdir var/opt; ln -s ../share/opt+x var/opt/x; echo opt+x >var/.beadm-layout
					rm var/log; mkdir -m 700 var/log; echo own >var/log/own; mkdir -p var/.beadm-staged/mail; echo of a package >var/.beadm-staged/mail/list`)
				before := look(t, root)
				putBack := func() error { _, err := PutBack(ctx, root, live, names); return err }
				takeBack := func() error { return TakeBack(ctx, root, names) }
				err, cut := until(n, putBack)
				if last = !cut; err != nil {
					t.Fatalf("cut %d: %v", n, err)
				}
				for k := 1; ; k++ {
					err, cut := until(k, takeBack)
					if err != nil {
						t.Fatalf("cut %d, taken back until %d: %v", n, k, err)
					}
					if !cut {
						break
					}
				}
				if after := look(t, root); after != before {
					t.Fatalf("cut %d: was\n%s\nand is\n%s", n, before, after)
				}
				if err := putBack(); err != nil {
					t.Fatalf("again after %d: %v", n, err)
				}
				sh(t, root, `test ! -L var/mail; test ! -L var/opt/x; test "$(cat var/mail/alice var/mail/list var/opt/x/data var/log/own)" = "$(printf 'letter\nof a package\ndata\nown')"; test ! -e var/.beadm-staged/mail; test ! -e var/log/syslog`)
				// Shared again: what was put back is not the boot environment's own.
				sh(t, root, `sleep 0.05; echo own >var/mail/later; rm var/mail/list`)
				a, err := Adopt(ctx, root, live, "linux", time.Unix(1, 0))
				if err != nil || strings.Join(a.Linked, " ") != "/var/log /var/mail" {
					t.Fatalf("%+v %v", a, err)
				}
				sh(t, root, `test "$(find var/.beadm-staged/mail -type f)" = var/.beadm-staged/mail/later; test -e var/.beadm-staged/log/own`)
				if last && n < 12 {
					t.Errorf("only %d effects", n)
				}
			}
		})
	}
}
