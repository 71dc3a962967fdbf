package zfs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
)

// What a root keeps encrypted is not shared by a dataset that is not, or that has
// another key.
func TestShareIsEncryptedAsTheRoot(t *testing.T) {
	for name, c := range map[string]struct {
		by     map[string]string // encryptionroot
		secret string            // why it is refused
	}{
		"nothing":             {by: map[string]string{"p/g": "-", "p/g/ROOT": "-", "p/g/ROOT/a": "-"}},
		"all of it":           {by: map[string]string{"p/g": "p", "p/g/ROOT": "p", "p/g/ROOT/a": "p"}},
		"above":               {by: map[string]string{"p/g": "p", "p/g/ROOT": "-", "p/g/ROOT/a": "-"}},
		"the root":            {by: map[string]string{"p/g": "-", "p/g/ROOT": "-", "p/g/ROOT/a": "p/g/ROOT/a"}, secret: "p/g/ROOT/a"},
		"a clone of it":       {by: map[string]string{"p/g": "-", "p/g/ROOT": "-", "p/g/ROOT/a": "-", "p/g/ROOT/b": "p/g/ROOT/a"}, secret: "p/g/ROOT/b"},
		"what holds them":     {by: map[string]string{"p/g": "-", "p/g/ROOT": "p/g/ROOT", "p/g/ROOT/a": "p/g/ROOT"}, secret: "p/g/ROOT/a"},
		"below the root":      {by: map[string]string{"p/g": "-", "p/g/ROOT": "-", "p/g/ROOT/a": "-", "p/g/ROOT/a/var": "p/g/ROOT/a/var"}, secret: "p/g/ROOT/a/var"},
		"another key":         {by: map[string]string{"p/g": "p", "p/g/ROOT": "p", "p/g/ROOT/a": "p/g/ROOT/a"}, secret: "p/g/ROOT/a"},
		"not what runs":       {by: map[string]string{"p/g": "-", "p/g/ROOT": "-", "p/g/ROOT/a": "-", "p/g/ROOT/b": "p/g/ROOT/b"}, secret: "p/g/ROOT/b"},
		"a ZFS without words": {},
	} {
		t.Run(name, func(t *testing.T) {
			made := filepath.Join(t.TempDir(), "made")
			script := `if [ "$1" = create ]; then echo "$*" >>` + made + `; exit; fi
case "$*" in
*" p/g/VARSHARE") echo "cannot open 'p/g/VARSHARE': dataset does not exist" >&2; exit 1;;
`
			if c.by == nil {
				script += "*encryptionroot*) echo \"bad property list: invalid property 'encryptionroot'\" >&2; exit 2;;\n"
			}
			for _, one := range []struct{ pattern, top string }{{"*encryptionroot*\" p/g\"", "p/g"}, {"*encryptionroot*\" p/g/ROOT\"", "p/g/ROOT"}} {
				script += one.pattern + ") printf '%s\\t%s\\t%s\\t%s\\n'"
				for ds, by := range c.by {
					if ds == one.top || one.top == "p/g/ROOT" && within(ds, one.top) {
						script += " " + ds + " encryptionroot - " + by
					}
				}
				script += ";;\n"
			}
			script += `*" p/g/ROOT") printf '%s\t%s\t%s\t%s\n' p/g/ROOT acltype local off p/g/ROOT xattr local sa;;
esac`
			s := fakeZFS(t, script)
			s.root, s.now = "p/g/ROOT", "p/g/ROOT/a"
			if err := s.MayShare(t.Context()); be.KindOf(err) != be.Decision && err != nil || (err != nil) != (c.secret != "") {
				t.Errorf("it may: %v", err)
			}
			err := s.CreateVolume(context.Background(), be.ShareVolume)
			did, _ := os.ReadFile(made) // not there: nothing
			switch {
			case c.secret == "" && !strings.Contains(string(did), "p/g/VARSHARE"): // which this zfs does not find then
				t.Errorf("%v; %s", err, did)
			case c.secret != "" && (be.KindOf(err) != be.Decision || !strings.Contains(err.Error(), "cannot create volume p/g/VARSHARE: "+c.secret+" is encrypted by a key that p/g/VARSHARE would not have: ") || len(did) > 0):
				t.Errorf("%v; %s", err, did)
			}
		})
	}
}

// The same on real ZFS: what is below an encrypted dataset is too, beside one it
// is refused, unless somebody has made it.
func TestShareOfEncryptedRoots(t *testing.T) {
	pool := needPool(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("a passphrase"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := []string{"-o", "encryption=on", "-o", "keyformat=passphrase", "-o", "keylocation=file://" + key, "-o", "pbkdf2iters=100000"}
	create := func(ds string, more ...string) {
		run(t, append(append([]string{"zfs", "create", "-o", "canmount=noauto", "-o", "mountpoint=none"}, more...), ds)...)
	}
	top := pool + "/secret"
	create(top)
	t.Cleanup(func() { run(t, "zfs", "destroy", "-r", top) })
	create(top+"/all", secret...)
	create(top + "/all/ROOT")
	create(top + "/all/ROOT/a")
	create(top + "/one")
	create(top + "/one/ROOT")
	create(top+"/one/ROOT/a", secret...)
	all := openStore(t, Config{BERoot: top + "/all/ROOT", Root: t.TempDir()})
	if err := all.CreateVolume(t.Context(), be.ShareVolume); err != nil {
		t.Error(err)
	}
	if by := run(t, "zfs", "get", "-Ho", "value", "encryptionroot", top+"/all/VARSHARE"); by != top+"/all" {
		t.Errorf("it is encrypted by %s", by)
	}
	one := openStore(t, Config{BERoot: top + "/one/ROOT", Root: t.TempDir()})
	if err := one.CreateVolume(t.Context(), be.ShareVolume); be.KindOf(err) != be.Decision {
		t.Error(err)
	}
	if there, err := one.VolumeExists(t.Context(), be.ShareVolume); err != nil || there {
		t.Errorf("%v, %v", there, err)
	}
	// A clone has the key of what it was made of.
	if _, err := one.Create(t.Context(), be.CreateOptions{Name: "b", From: "a", AutoSnapshot: "auto"}); err != nil {
		t.Error(err)
	}
	if err := one.CreateVolume(t.Context(), be.ShareVolume); be.KindOf(err) != be.Decision {
		t.Error(err)
	}
	create(top+"/one/VARSHARE", secret...)
	if err := one.CreateVolume(t.Context(), be.ShareVolume); err != nil {
		t.Error(err)
	}
}
