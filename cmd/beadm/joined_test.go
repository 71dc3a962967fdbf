package main

import (
	"slices"
	"strings"
	"testing"
)

func TestListOfAllExcludesItsParts(t *testing.T) {
	for _, flags := range []string{"-ad", "-as", "-ads"} {
		var out, errs strings.Builder
		if code := run([]string{"beadm", "list", flags}, streams{out: &out, err: &errs}); code != 2 || out.Len() > 0 || !strings.Contains(errs.String(), "-a is -ds") {
			t.Errorf("list %s: %d %q %q", flags, code, out.String(), errs.String())
		}
	}
}

// TestJoinedFlags: short flags written together are those written apart.
func TestJoinedFlags(t *testing.T) {
	words := func(args string) []string {
		return reorder(newApp(streams{}), strings.Fields("beadm "+args))
	}
	for joined, apart := range map[string]string{
		"destroy -nF new":          "destroy -n -F new",
		"destroy new -nF":          "destroy new -n -F",
		"destroy -Fnf new":         "destroy -F -n -f new",
		"unmount -fv new":          "unmount -f -v new",
		"list -Hk name":            "list -H -k name",
		"list -Hds":                "list -H -d -s",
		"-vr /x list":              "-v -r /x list",
		"list -vr /x":              "list -v -r /x",
		"create -ne other new":     "create -n -e other new",
		"activate -tn new":         "activate -t -n new",
		"run new -- ls -nF":        "run new -- ls -nF",
		"share init -n":            "share init -n",
		"destroy -nFx new":         "destroy -n -F -x new",
		"-vgr web1 list":           "-vgr web1 list", // -g takes a value
		"create -dry-run new":      "create --dry-run new",
		"create -dryrun new":       "create -dryrun new",
		"create -oa=b new":         "create -oa=b new",
		"activate -permanent new":  "activate --permanent new",
		"activate --permanent new": "activate -permanent new",
	} {
		a, b := words(joined), words(apart)
		if joined == apart {
			b = strings.Fields("beadm " + apart)
		}
		same := slices.EqualFunc(a, b, func(a, b string) bool { return strings.TrimLeft(a, "-") == strings.TrimLeft(b, "-") })
		if !same {
			t.Errorf("%s: %q, not %q", joined, a, b)
		}
	}
	for args, says := range map[string]string{
		"destroy -nFx new":   "-x",
		"destroy -xn new":    "-xn",
		"create -dryrun new": "-dryrun",
		"list -kH name":      "-kH",
	} {
		var out, errs strings.Builder
		code := run(strings.Fields("beadm "+args), streams{out: &out, err: &errs})
		if code != 2 || out.Len() > 0 || !strings.Contains(errs.String(), "not defined: "+says+": see beadm ") {
			t.Errorf("%s: %d %q %q", args, code, out.String(), errs.String())
		}
	}
}
