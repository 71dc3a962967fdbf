package activate

import (
	"strings"
	"testing"
	"time"

	"beadm/be"
)

func TestConf(t *testing.T) {
	c, err := ParseConf("f", []byte("# note\n\nconfirm.hold = 5s\nconfirm.within=90s\nconfirm.check = test -e /a = b\npanic = 7\nnotify = mail -s x root\nshare.path = /var/www\nshare.path=!/var/tmp\n"))
	if err != nil || c.Hold != 5*time.Second || c.ConfirmWithin != 90*time.Second || c.Panic != 7 || c.Notify != "mail -s x root" || strings.Join(c.SharePaths, " ") != "/var/www !/var/tmp" || len(c.Checks) != 1 || c.Checks[0] != "test -e /a = b" {
		t.Errorf("got %+v, %v", c, err)
	}
	for _, key := range ConfKeys() {
		if _, err := ParseConf("f", []byte(key+" = x")); err != nil && strings.Contains(err.Error(), "there is no key") {
			t.Error(err)
		}
	}
	for text, want := range map[string]string{
		"confirm.hold":       "f:1: \"confirm.hold\" is not KEY = VALUE",
		"\nnope = 1":         "f:2: there is no key \"nope\"",
		"panic = 0":          "f:1: panic: it must be at least 1",
		"confirm.within = 5": "f:1: confirm.within",
		"share.path = www":   "f:1: share.path: \"www\" is no path",
		"\nshare.path = !":   "f:2: share.path: \"!\" is no path",
		"share.path = /a/..": "f:1: share.path: \"/a/..\" is no path",
	} {
		_, err := ParseConf("f", []byte(text))
		if be.KindOf(err) != be.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
