//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/be"
	"beadm/be/btrfs"
)

// templates is a machine and an LXC container, and a machine that never starts,
// their template. Each has configuration of its own.
func templates(t *testing.T, prefix string) (h *guests, template string) {
	t.Helper()
	h = newGuests(t, prefix, 1)
	h.addContainers(prefix+"-c", 1)
	template = prefix + "tpl"
	sh(t, "btrfs", "-q", "subvolume", "snapshot", filepath.Join(h.dir, ".template"), h.root(template))
	for _, name := range append([]string{template}, h.names...) {
		root := h.root(name)
		write(t, filepath.Join(root, "etc/hostname"), name+"\n")
		write(t, filepath.Join(root, "etc/beadm/synclist"), "/etc/app MERGE\n/etc/ssh/ssh_host_ed25519_key OVERWRITE\n")
		write(t, filepath.Join(root, "etc/app/app.conf"), "one\n--\ntwo\n--\nthree\n--\nfour\n")
		write(t, filepath.Join(root, "etc/app/plain.conf"), "as shipped\n")
		write(t, filepath.Join(root, "etc/ssh/ssh_host_ed25519_key"), "key of "+name+"\n")
	}
	// What systemd-logind writes to must be writable whatever the root is.
	f, err := os.OpenFile(h.conf, os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	_, err = f.WriteString("share.path = /var/lib/systemd\n")
	check(t, errors.Join(err, f.Close()))
	h.run("guest", "init", prefix+"*")
	h.run("share", "-g", prefix+"*", "--exclude", template, "init")
	return h, template
}

// store opens a guest's boot environments.
func (h *guests) store(name string) *btrfs.Store {
	h.t.Helper()
	place := guest.Place{Root: h.root(name)}
	s, err := btrfs.Open(context.Background(), btrfs.Config{BERoot: place.Dir(), Root: place.Root})
	check(h.t, err)
	h.t.Cleanup(func() { s.Close() })
	return s
}

func (h *guests) be(name, be string) string {
	return filepath.Join(guest.Place{Root: h.root(name)}.Dir(), guest.RootPrefix+be)
}

// A template is upgraded once, and each guest gets it with its own
// configuration, on a root that can be written and on one that cannot. The
// next template is met as what changed between the two, not as a stranger.
func TestGuestsFromATemplate(t *testing.T) {
	ctx := context.Background()
	h, template := templates(t, "gm")
	fixed, loose := h.names[0], h.names[1]
	h.up()
	h.run("-g", template, "upgrade", "v2", "--", "sh", "-c",
		"echo patched >/etc/motd && useradd --system patched && echo v2 >/etc/app/plain.conf && sed -i s/three/3/ /etc/app/app.conf")
	for _, name := range h.names {
		sh(t, "sed", "-i", "s/one/"+name+"/", filepath.Join(h.root(name), "etc/app/app.conf"))
		sh(t, "sed", "-i", "s/^alice:/alice:!/", filepath.Join(h.root(name), "etc/shadow"))
	}

	// One a cut left: the next create from a template takes it away.
	_, err := h.store(template).Snapshot(ctx, "v2", "beadm-template-0")
	check(t, err)
	h.run("create", "-e", template+"/v2", "-g", "gm*", "--exclude", template, "-o", "readonly=on", "-d", "of the template", "v2")
	snaps, err := h.store(template).Snapshots(ctx, "v2")
	check(t, err)
	if len(snaps) != 0 {
		t.Errorf("the template's snapshots stay: %+v", snaps)
	}
	uuids := map[be.UUID]bool{}
	for _, name := range h.names {
		all, err := h.store(name).List(ctx)
		check(t, err)
		for _, b := range all {
			uuids[b.UUID] = true
			if b.Name == "v2" && (!b.ReadOnly || b.Description != "of the template") {
				t.Errorf("%s: %+v", name, b)
			}
		}
	}
	if uuids[""] || len(uuids) != 4 {
		t.Errorf("uuids %v", uuids)
	}
	if out, code := h.try("destroy", "-F", "-g", loose, "v2"); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	h.run("create", "-e", template+"/v2", "-g", loose, "v2")

	// No template that they have in common: the guest's files are taken.
	for name, s := range h.switched(0, "activate", "-g", "gm*", "--exclude", template, "v2") {
		if s.Outcome != activate.Confirmed || s.Runs != "v2" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	own := func(name, app string) {
		t.Helper()
		for path, want := range map[string]string{
			"etc/motd": "patched\n", "etc/hostname": name + "\n", "etc/ssh/ssh_host_ed25519_key": "key of " + name + "\n", "etc/app/app.conf": app,
		} {
			if got := h.file(name, path); got != want {
				t.Errorf("%s: %s is %q, not %q", name, path, got, want)
			}
		}
		if !strings.Contains(h.file(name, "etc/passwd"), "\npatched:") || !strings.Contains(h.file(name, "etc/shadow"), "\nalice:!") {
			t.Errorf("%s: the template's user is not there, or alice is not locked", name)
		}
		h.nothingLost(name)
	}
	for _, name := range h.names {
		own(name, name+"\n--\ntwo\n--\nthree\n--\nfour\n")
		kept, err := filepath.Glob(h.be(name, "v2") + "/etc/app/.beadm-kept-*-app.conf")
		if err != nil || len(kept) != 1 || !strings.Contains(read(t, kept[0]), "\n3\n") {
			t.Errorf("%s: the template's file is not kept beside: %v %v", name, kept, err)
		}
	}
	file := filepath.Join(h.root(fixed), "etc/x")
	if err := os.WriteFile(file, nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("the read-only root can be written: %v", err)
	}

	// The next template. What the guests changed since they were made of the
	// first comes along, the rest is the template's.
	h.run("-g", template, "create", "-e", "v2", "v3")
	h.run("-g", template, "upgrade", "v3", "--", "sh", "-c", "echo v3 >/etc/app/plain.conf && sed -i s/four/4/ /etc/app/app.conf")
	sh(t, "sed", "-i", "s/two/its own/", filepath.Join(h.root(loose), "etc/app/app.conf"))
	h.run("create", "-e", template+"/v3", "-g", "gm*", "--exclude", template, "-o", "readonly=on", "v3")
	for name, s := range h.switched(0, "activate", "-g", "gm*", "--exclude", template, "v3") {
		if s.Outcome != activate.Confirmed || s.Runs != "v3" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	own(fixed, fixed+"\n--\ntwo\n--\nthree\n--\n4\n")
	own(loose, loose+"\n--\nits own\n--\nthree\n--\n4\n")
	for _, name := range h.names {
		if kept, err := filepath.Glob(h.be(name, "v3") + "/etc/app/.beadm-kept-*-app.conf"); err != nil || len(kept) > 0 {
			t.Errorf("%s: what the guest changed alone is in conflict: %v %v", name, kept, err)
		}
	}
	// What is shared can be changed on a root that cannot be written.
	h.run("share", "-g", fixed, "add", "--stop-all", "/var/lib/misc")
	if to, err := os.Readlink(filepath.Join(h.root(fixed), "var/lib/misc")); err != nil || to != "../share/lib+misc" {
		t.Errorf("/var/lib/misc leads to %q, %v", to, err)
	}
	if err := os.WriteFile(file, nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("after share add the read-only root can be written: %v", err)
	}
	h.healthy(fixed)
	// Back to a root that cannot be written, and into it the lock of the one
	// that ran after it.
	h.run("-g", fixed, "create", "-o", "readonly=off", "v4")
	h.switched(0, "activate", "-g", fixed, "v4")
	sh(t, "sed", "-i", "s/^bob:/bob:!/", filepath.Join(h.root(fixed), "etc/shadow"))
	h.switched(0, "rollback", "-g", fixed)
	if !strings.Contains(h.file(fixed, "etc/shadow"), "\nbob:!") || h.runs(fixed) != "@be-v3" {
		t.Errorf("%s runs %s, and bob's lock did not come along", fixed, h.runs(fixed))
	}
	if err := os.WriteFile(file, nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("after a switch the read-only root can be written: %v", err)
	}
	own(fixed, fixed+"\n--\ntwo\n--\nthree\n--\n4\n")

	// What runs is no template.
	if out, code := h.try("create", "-e", fixed+"/v3", "-g", loose, "v5"); code != 4 || !strings.Contains(out, "it runs, and a template does not") {
		t.Errorf("a clone of what runs: exit %d: %s", code, out)
	}
	// What only the old root has is not left behind unsaid.
	data := filepath.Join(h.root(fixed), "srv/data")
	h.run("-g", fixed, "create", "-o", "readonly=off", "v5")
	h.switched(0, "activate", "-g", fixed, "v5")
	write(t, data, "data\n")
	h.run("create", "-e", template+"/v3", "-g", fixed, "v6")
	of := h.switched(5, "activate", "-g", fixed, "v6")
	if why := of[fixed].Why; of[fixed].Outcome != activate.Refused || !strings.Contains(why, "was made from "+template+"/v3 and lacks data that is in v5 alone: /srv/data;") {
		t.Errorf("%+v", of[fixed])
	}
	if out := h.run("guest", "status"); strings.Contains(out, "failed") {
		t.Errorf("guest status:\n%s", out)
	}
}

var spaceBytes = regexp.MustCompile(`"space_bytes": \d+`)

// Nothing of what is refused changes anything.
func TestTemplateRefusals(t *testing.T) {
	h, template := templates(t, "gx")
	name := h.names[0]
	h.run("-g", template, "create", "good")
	h.run("-g", template, "create", "half")
	if _, code := h.try("-g", template, "upgrade", "half", "--", "false"); code == 0 {
		t.Fatal("an upgrade that failed succeeded")
	}
	sh(t, "btrfs", "-q", "subvolume", "snapshot", filepath.Join(h.dir, ".template"), filepath.Join(h.dir, "gxraw"))
	sh(t, "btrfs", "-q", "subvolume", "snapshot", filepath.Join(h.dir, ".template"), filepath.Join(h.dir, "gxmapped"))
	check(t, os.Lchown(filepath.Join(h.dir, "gxmapped"), 100000, 100000))
	h.run("guest", "init", "gxmapped")
	h.run("-g", template, "create", "cut")
	check(t, os.Rename(h.be(template, "cut"), filepath.Join(filepath.Dir(h.be(template, "cut")), "@beadm-partial-cut")))
	look := func() string {
		t.Helper()
		var all []string
		for _, g := range []string{name, template, "gxmapped"} {
			out := h.run("--json", "list", "-g", g)
			var list any
			check(t, json.Unmarshal([]byte(out), &list))
			out = spaceBytes.ReplaceAllString(out, "") // it changes by itself
			all = append(all, out, sh(t, "find", filepath.Join(h.dir, ".beadm", g), "-maxdepth", "3", "-path", "*@beadm-snapshots/*/*", "-o", "-path", "*/loader*"))
		}
		return strings.Join(all, "\n")
	}
	h.run("-g", name, "create", "there") // its store has the directory of snapshots
	h.run("-g", "gxmapped", "create", "there")
	before := look()
	for _, c := range []struct {
		source, globs string
		code          int
		says          string
	}{
		{template + "/none", name, 3, "there is no boot environment none"},
		{template + "/good@none", name, 3, "there is no snapshot good@none"},
		{"gxnone/good", name, 3, "there is no guest gxnone"},
		{"gxraw/good", name, 10, "run beadm guest init gxraw"},
		{template + "/half", name, 5, "its upgrade of "},
		{template + "/cut", name, 4, "it is incomplete"},
		{template + "/", name, 2, "name"},
		{template + "/a/b", name, 2, "name"},
		{template + "/good", "gx*", 2, "is the template itself: give --exclude " + template},
		{"gxmapped/there", name, 10, "belongs to user 100000 and the one here to user 0"},
	} {
		out, code := h.try("create", "-e", c.source, "-g", c.globs, "--exclude", "gxraw", "new")
		if code != c.code || !strings.Contains(out, c.says) || strings.Count(strings.TrimSpace(out), "\n") > 0 {
			t.Errorf("create -e %s: exit %d, wanted %d and %q:\n%s", c.source, code, c.code, c.says, out)
		}
	}
	if out, code := h.try("create", "-e", template+"/good", "new"); code != 2 || !strings.Contains(out, "give -g GLOB") {
		t.Errorf("without -g: exit %d: %s", code, out)
	}
	if out, code := h.try("create", "-e", template+"/good", "--empty", "-g", name, "new"); code != 2 {
		t.Errorf("with --empty: exit %d: %s", code, out)
	}
	if out := h.run("create", "-n", "-e", template+"/good", "-g", name, "new"); !strings.Contains(out, "would clone "+template+"/good as new") {
		t.Errorf("a dry run says %s", out)
	}
	if after := look(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	// A snapshot that was there stays.
	_, err := h.store(template).Snapshot(context.Background(), "good", "mine")
	check(t, err)
	h.run("create", "-e", template+"/good@mine", "-g", name, "new")
	if snaps, err := h.store(template).Snapshots(context.Background(), "good"); err != nil || len(snaps) != 1 {
		t.Errorf("snapshots of the template: %+v, %v", snaps, err)
	}
}
