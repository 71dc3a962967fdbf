package illumos

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"beadm/activate/boot"
	"beadm/activate/boot/bootenv"
	"beadm/activate/boot/bootenv/simpool"
	"beadm/activate/boot/loadertest"
	"beadm/be"
	"beadm/be/rooted"
)

const key = "illumos:bootonce"

func answer(words string) simpool.Answer { return simpool.Answer{Out: words + "\n"} }

// machine is one on which beadm setup has run, and that was restarted since.
func machine() *simpool.Machine {
	m := simpool.New(key)
	for _, name := range []string{"fastreboot_default", "fastreboot_onpanic"} {
		m.Answers["svcprop -p config/"+name+" svc:/system/boot-config:default"] = answer("false")
	}
	m.Answers["svcs -H -o state svc:/system/beadm:default"] = answer("online")
	m.Answers["zfs get -Hp -o value mounted,mountpoint tank"] = answer("no\n/tank")
	return m
}

func loader(m *simpool.Machine, step func(string) error) *bootenv.Loader {
	return New(Config{BERoot: m.BERoot, Run: m.Run, Step: step})
}

// suiteLoader gives the suite's entries a dataset each.
type suiteLoader struct {
	*bootenv.Loader
	m *simpool.Machine
}

func (l suiteLoader) in(e boot.Entry) boot.Entry {
	if boot.ValidID(e.ID) {
		l.m.Clone(e.ID, e.ID)
		e.Root = be.RootRef{FS: "zfs", Label: "tank", Prefix: "/ROOT/" + e.ID + "@"}
	}
	return e
}
func (l suiteLoader) CheckEntry(ctx context.Context, id string, _ be.RootRef) error {
	return l.Loader.CheckEntry(ctx, id, be.RootRef{FS: "zfs", Label: "tank", Prefix: "/ROOT/" + id + "@"})
}
func (l suiteLoader) Install(ctx context.Context, e boot.Entry) error {
	return l.Loader.Install(ctx, l.in(e))
}
func (l suiteLoader) Put(ctx context.Context, e boot.Entry) error {
	return l.Loader.Put(ctx, l.in(e))
}

// TestContract runs the suite on a stand-in of the machine: illumos cannot run
// here. In one round the kernel does not show what the loader told it.
func TestContract(t *testing.T) {
	for name, silent := range map[string]bool{"told": false, "not told": true} {
		t.Run(name, func(t *testing.T) {
			loadertest.Run(t, func(t *testing.T) loadertest.Fixture {
				m := machine()
				return loadertest.Fixture{
					Loader: func(step func(string) error) boot.Loader { return suiteLoader{loader(m, step), m} },
					Play: func() (loadertest.Played, error) {
						root, _ := m.PowerOn()
						if silent {
							delete(m.Env, "zfs-bootonce")
						}
						claim, err := loader(m, nil).Claim(context.Background(), root)
						id, trial := boot.Cmdline(claim)
						return loadertest.Played{ID: id, Trial: trial}, err
					},
				}
			})
		})
	}
}

func armed(t *testing.T) (*simpool.Machine, *bootenv.Loader) {
	t.Helper()
	m := machine()
	l := loader(m, nil)
	r := suiteLoader{l, m}
	for _, err := range []error{
		r.Install(t.Context(), loadertest.Entry("a", "A")), r.Put(t.Context(), loadertest.Entry("b", "B")), r.Arm(t.Context(), loadertest.ID("b")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return m, l
}

// TestTheSystemsOwnToolIsNotCalled: its beadm activate installs the loader.
func TestTheSystemsOwnToolIsNotCalled(t *testing.T) {
	m, l := armed(t)
	m.PowerOn()
	for _, err := range []error{l.SetDefault(t.Context(), loadertest.ID("b")), l.Arm(t.Context(), loadertest.ID("a")), l.Disarm(t.Context())} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, call := range m.Calls {
		if program, _, _ := strings.Cut(call, " "); !slices.Contains([]string{"zfs", "zpool", "eeprom", "devprop", "svcs", "svcprop"}, program) {
			t.Errorf("called %s", call)
		}
	}
}

// TestNamesWithColons: installers give them (menu.lst(5) has this one), and the
// loader takes the last colon for the end (zfs_parsedev).
func TestNamesWithColons(t *testing.T) {
	m, l := armed(t)
	ds := m.Clone("openindiana-2023:01:03", loadertest.ID("c"))
	e := loadertest.Entry("c", "C")
	e.Root = be.RootRef{FS: "zfs", Label: "tank", Prefix: strings.TrimPrefix(ds, "tank") + "@"}
	if err := l.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := l.Arm(t.Context(), e.ID); err != nil || m.Label[key] != "zfs:tank/ROOT/openindiana-2023:01:03:" {
		t.Fatalf("%q %v", m.Label[key], err)
	}
	root, _ := m.PowerOn()
	claim, err := l.Claim(t.Context(), root)
	if id, trial := boot.Cmdline(claim); err != nil || !trial || id != e.ID {
		t.Errorf("%q %v", claim, err)
	}
}

// TestAVisitIsNoTrial: a boot environment picked at the menu, also where the
// kernel does not show what the loader told it.
func TestAVisitIsNoTrial(t *testing.T) {
	a, b := "tank/ROOT/"+loadertest.ID("a"), "tank/ROOT/"+loadertest.ID("b")
	m, l := armed(t)
	m.PowerOn()
	delete(m.Env, "zfs-bootonce")
	for root, want := range map[string]bool{a: false, b: true} {
		claim, err := l.Claim(t.Context(), root)
		if _, trial := boot.Cmdline(claim); err != nil || trial != want {
			t.Errorf("%s: %q %v, want trial %v", root, claim, err, want)
		}
	}
	m.PowerOn()
	delete(m.Env, "zfs-bootonce")
	if err := l.ClearTried(t.Context()); err != nil { // as beadm boot does in a
		t.Fatal(err)
	}
	claim, err := l.Claim(t.Context(), b)
	if id, trial := boot.Cmdline(claim); err != nil || trial || id != loadertest.ID("b") {
		t.Errorf("picked at the menu: %q %v", claim, err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	const config = "svcprop -p config/"
	const service = " svc:/system/boot-config:default"
	for name, c := range map[string]struct {
		line   string
		answer simpool.Answer
		says   string
	}{
		"fast reboot":             {config + "fastreboot_default" + service, answer("true"), "setprop config/fastreboot_default=false"},
		"fast reboot at a panic":  {config + "fastreboot_onpanic" + service, answer("true"), "setprop config/fastreboot_onpanic=false"},
		"nobody knows":            {config + "fastreboot_onpanic" + service, simpool.Answer{Status: 1, Words: "svcprop: Could not connect to repository"}, "cannot read config/fastreboot_onpanic"},
		"the service is disabled": {"svcs -H -o state svc:/system/beadm:default", answer("disabled"), "not online but disabled"},
		"no such service":         {"svcs -H -o state svc:/system/beadm:default", simpool.Answer{Status: 1, Words: "svcs: Pattern 'svc:/system/beadm:default' doesn't match any instances"}, boot.ErrRestart.Error()},
	} {
		m, l := armed(t)
		if err := l.Disarm(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.Answers[c.line] = c.answer
		if err := l.Probe(t.Context()); be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err := l.Arm(t.Context(), loadertest.ID("b")); err == nil || m.Label[key] != "" {
			t.Errorf("%s: armed: %v", name, err)
		}
	}
	m, l := armed(t)
	m.Answers[config+"fastreboot_onpanic"+service] = simpool.Answer{Status: 1, Words: "svcprop: Couldn't find property `config/fastreboot_onpanic'"}
	if err := l.Probe(t.Context()); err != nil {
		t.Errorf("not set is off: %v", err)
	}
}

// children is what service_bundle.dtd.1 of illumos lets stand in an element,
// in this order, as far as our manifest uses it.
var children = map[string][]string{
	"service_bundle": {"service"},
	"service":        {"create_default_instance", "single_instance", "dependency", "dependent", "exec_method", "property_group", "stability", "template"},
	"dependency":     {"service_fmri"},
	"dependent":      {"service_fmri"},
	"property_group": {"propval"},
	"template":       {"common_name", "documentation"},
	"common_name":    {"loctext"},
	"documentation":  {"manpage"},
}

// required are the attributes that it requires.
var required = map[string][]string{
	"service_bundle": {"type", "name"}, "service": {"name", "type", "version"}, "create_default_instance": {"enabled"},
	"dependency": {"name", "grouping", "restart_on", "type"}, "dependent": {"name", "grouping", "restart_on"},
	"service_fmri": {"value"}, "exec_method": {"type", "name", "exec", "timeout_seconds"}, "property_group": {"name", "type"},
	"propval": {"name", "type", "value"}, "stability": {"value"}, "loctext": {"lang"}, "manpage": {"title", "section"},
}

func TestTheManifestIsWellFormed(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(string(manifest)))
	type open struct {
		name string
		at   int // the place of its last child in children
	}
	var stack []open
	seen := map[string]string{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			name := e.Name.Local
			if len(stack) > 0 {
				up := &stack[len(stack)-1]
				at := slices.Index(children[up.name], name)
				if at < up.at {
					t.Errorf("%s stands in %s where the DTD has none", name, up.name)
				}
				up.at = at
			}
			var have []string
			for _, a := range e.Attr {
				have = append(have, a.Name.Local)
				seen[name+" "+a.Name.Local] += a.Value + "\n"
			}
			for _, r := range required[name] {
				if !slices.Contains(have, r) {
					t.Errorf("%s has no %s", name, r)
				}
			}
			stack = append(stack, open{name: name})
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		}
	}
	// A service that cannot come online must not keep the system from coming up.
	if seen["dependent grouping"] != "optional_all\n" {
		t.Errorf("the milestone depends on it as %q", seen["dependent grouping"])
	}
	if !strings.HasPrefix(seen["exec_method exec"], "/usr/lib/beadm/init early-boot\n") {
		t.Errorf("it runs %q", seen["exec_method exec"])
	}
}

func TestCheckRoot(t *testing.T) {
	files := map[string]string{
		"boot/defaults/loader.conf":          "x",
		"platform/i86pc/kernel/amd64/unix":   "\x7fELF kernel",
		"platform/i86pc/amd64/boot_archive":  "070701...",
		"lib/svc/manifest/system/beadm.xml":  string(manifest),
		"lib/svc/manifest/system/other.xml":  "x",
		"lib/svc/manifest/system/broken.xml": "",
	}
	for name, c := range map[string]struct{ file, text, says string }{
		"as released":           {"etc/motd", "x", ""},
		"no kernel":             {"platform/i86pc/kernel/amd64/unix", "-", "unix is missing"},
		"a kernel of zeros":     {"platform/i86pc/kernel/amd64/unix", "\x00\x00\x00\x00\x00", "unix is not what it should be"},
		"an empty boot archive": {"platform/i86pc/amd64/boot_archive", "", "boot_archive is not what it should be"},
		"GRUB":                  {"boot/defaults/loader.conf", "-", "would not take it for a system"},
		"no hook":               {"lib/svc/manifest/system/beadm.xml", "-", "beadm setup DIR"},
		"another hook":          {"lib/svc/manifest/system/beadm.xml", "<x/>", "beadm setup DIR"},
	} {
		dir := t.TempDir()
		for file, text := range files {
			if file == c.file {
				text = c.text
			}
			if text == "-" {
				continue
			}
			path := filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kernel, err := CheckRoot(t.Context(), dir)
		switch {
		case c.says == "" && (err != nil || kernel != "/platform/i86pc/kernel/amd64/unix"):
			t.Errorf("%s: %q %v", name, kernel, err)
		case c.says != "" && (be.KindOf(err) != be.Unbootable || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if !strings.Contains(c.says, "beadm setup DIR") {
			continue
		}
		root, err := rooted.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := PutHooks(root); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		root.Close()
		if _, err := CheckRoot(t.Context(), dir); err != nil {
			t.Errorf("%s: after setup: %v", name, err)
		}
	}
}
