//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var jsonKey = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// keys walks a value and reports keys that are not in one style.
func badKeys(v any, path string) (bad []string) {
	switch v := v.(type) {
	case nil:
		bad = append(bad, path+" is null")
	case map[string]any:
		for k, e := range v {
			if !jsonKey.MatchString(k) {
				bad = append(bad, path+"."+k)
			}
			bad = append(bad, badKeys(e, path+"."+k)...)
		}
	case []any:
		for _, e := range v {
			bad = append(bad, badKeys(e, path+"[]")...)
		}
	}
	return bad
}

// TestJSON runs every command with --json: one value, keys in one style.
func TestJSON(t *testing.T) {
	m := newBareMachine(t)
	seen := map[string]bool{}
	value := func(args ...string) map[string]any {
		t.Helper()
		r := m.run(append([]string{"--json"}, args...)...)
		if r.code != 0 {
			t.Fatal(r)
		}
		var v any
		if err := json.Unmarshal([]byte(r.out), &v); err != nil {
			t.Fatalf("%v: %v", err, r)
		}
		if bad := badKeys(v, ""); len(bad) > 0 {
			t.Errorf("%q: keys %q in %s", args, bad, r.out)
		}
		seen[commandIn(args)] = true
		obj, _ := v.(map[string]any)
		return obj
	}
	is := func(v map[string]any, command string, key string, want any) {
		t.Helper()
		if v["command"] != command || v[key] != want {
			t.Errorf("wanted %s with %s = %v: %v", command, key, want, v)
		}
	}
	is(value("setup", "-n", "--loader", "stub", "--loader-dir", m.loader), "setup", "dry_run", true)
	is(value("setup", "--loader", "stub", "--loader-dir", m.loader), "setup", "dry_run", false)
	is(value("create", "new"), "create", "be", "new")
	is(value("describe", "new", "a text"), "describe", "be", "new")
	value("list")
	is(value("snapshot", "new@kept"), "snapshot", "be", "new")
	value("list", "-a")
	stream := filepath.Join(t.TempDir(), "stream")
	is(value("export", "-f", stream, "new"), "export", "be", "new")
	is(value("import", "-n", "-f", stream, "more"), "import", "dry_run", true)
	is(value("prune", "-n", "--keep", "9"), "prune", "dry_run", true)
	value("status")
	value("run", "-n", "new", "--", "/bin/true")
	if v := value("share", "init"); v["command"] != "share init" || v["result"] == nil {
		t.Errorf("%v", v)
	}
	value("share", "status")
	value("share", "list")
	check(t, os.Mkdir(filepath.Join(m.root, "var/lib/x"), 0o755))
	value("share", "snapshot", "kept")
	value("share", "restore", "-n", "kept", "/var/mail")
	value("share", "add", "-n", "/var/lib/x")
	value("share", "remove", "-n", "/var/mail")
	value("share", "undo", "-n")
	if v := value("mount", "new"); v["mountpoint"] == nil || !filepath.IsAbs(v["mountpoint"].(string)) {
		t.Errorf("%v", v)
	}
	is(value("unmount", "new"), "unmount", "be", "new")
	is(value("sync", "status", "--to", "new"), "sync status", "dry_run", true)
	is(value("sync", "run", "--to", "new"), "sync run", "be", "new")
	value("sync", "list")
	value("sync", "conflicts", "--to", "new")
	is(value("rename", "new", "newer"), "rename", "be", "new")
	is(value("upgrade", "-n", "newer", "--", "/bin/true"), "upgrade", "be", "newer")
	is(value("activate", "newer"), "activate", "be", "newer")
	m.loads()
	value("boot")
	is(value("confirm"), "confirm", "dry_run", false)
	is(value("rollback"), "rollback", "next", "debian")
	m.comeUp()
	value("recover")
	value("history")
	value("tree")
	value("diff", "newer")
	value("version")
	value("share", "init", "-n")
	if v := value("destroy", "-F", "newer"); v["frees_bytes"] == nil {
		t.Errorf("%v", v)
	}
	is(value("status", "--acknowledge"), "status", "dry_run", false)
	// These take what TestJSON has not: each is validated where its own test asks
	// for JSON.
	for _, name := range []string{"guests", "guests activate", "guests rollback", "guest list", "guest status", "guest init", "guest release", "guest boot", "share commit", "sync diff", "sync resolve", "check"} {
		seen[name] = true
	}
	for name := range published() {
		if !seen[name] {
			t.Errorf("the JSON of %s is not looked at", name)
		}
	}
	// An error is one sentence all the same, and no value.
	if r := m.run("--json", "destroy", "-F", "newer"); r.code != 3 || r.out != "" || !strings.HasPrefix(r.err, "beadm: ") {
		t.Error(r)
	}
}

// TestDryRun: -n says something and changes nothing.
func TestDryRun(t *testing.T) {
	m := newMachine(t)
	m.ok("create", "new")
	m.ok("create", "other")
	dry := func(says string, args ...string) {
		t.Helper()
		before := m.snapshotWorld()
		at := slices.Index(args, "--") // behind it all is the command's own
		if at < 0 {
			at = len(args)
		}
		r := m.run(slices.Insert(args, at, "-n")...)
		if r.code != 0 || !strings.Contains(r.out, says) {
			t.Errorf("wanted %q: %v", says, r)
		}
		for line := range strings.Lines(r.out) {
			if !strings.HasPrefix(line, "would ") {
				t.Errorf("%q in %v", line, r)
			}
		}
		if after := m.snapshotWorld(); after != before {
			t.Errorf("it changed\n%s\nafter %v", differ(before, after), r)
		}
	}
	dry("would put beadm into debian", "setup", "--loader", "stub", "--loader-dir", m.loader)
	dry("would clone debian as made", "create", "made")
	dry("would activate made", "create", "-a", "made")
	dry("would remove ", "destroy", "new")
	dry("would rename new to made", "rename", "new", "made")
	dry(`would describe new as "text"`, "describe", "new", "text")
	dry("would mount new at ", "mount", "new")
	dry("would move /var/mail (", "share", "init")
	dry("would run the command in new", "upgrade", "new", "--", "/bin/true")
	dry("would create made from the running one", "upgrade", "-a", "made", "--", "/bin/true")
	dry("would run /bin/true in new", "run", "new", "--", "/bin/true")
	dry("would arm one trial of new (the commit)", "activate", "new")
	dry("would make new the default (the commit)", "activate", "--permanent", "new")
	dir := strings.TrimSpace(m.ok("mount", "new"))
	dry("would unmount new from "+dir, "unmount", "new")
	m.refused(4, "it is mounted at", "destroy", "-F", "new")
	dry("would unmount new from "+dir, "destroy", "-f", "new")
	dry("would put beadm into new", "setup", dir)
	m.ok("unmount", "new")
	m.ok("activate", "new")
	dry("would take back the armed trial of new", "activate", "-T")
	dry("would take back the armed trial of new", "activate", "other")
	dry("would take back the armed trial of new", "rollback")
	m.loads()
	dry("would begin the trial of new", "boot")
	m.ok("boot")
	dry("would make new the default (the commit)", "confirm")
	dry("would end the trial of new; debian boots next", "rollback")
	m.loads()
	dry("would record that the trial of new failed", "boot")
	m.ok("boot")
	dry("would mark the failed trial of new as read", "status", "--acknowledge")
	dry("", "recover")
}
