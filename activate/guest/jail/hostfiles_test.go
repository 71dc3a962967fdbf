package jail

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestGlob(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"etc/jail.conf", "etc/jail.b.conf", "etc/jail.a.conf", "etc/.jail.conf", "etc/d/1/x", "etc/d/2/x", "etc/d/.3/x", "etc/d/file"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for pattern, want := range map[string][]string{
		"/etc/jail.*.conf":    {"/etc/jail.a.conf", "/etc/jail.b.conf"},
		"/etc/jail[.]conf":    {"/etc/jail.conf"},
		"/etc/*.conf":         {"/etc/jail.a.conf", "/etc/jail.b.conf", "/etc/jail.conf"},
		"/etc/.*.conf":        {"/etc/.jail.conf"},
		"/etc/d/*/x":          {"/etc/d/1/x", "/etc/d/2/x"},
		"/etc/d/[!1]/x":       {"/etc/d/2/x"},
		"/nowhere/*.conf":     nil,
		"/etc/jail.conf/*":    nil,
		"/etc/jail.?.conf/*x": nil,
	} {
		if got, err := hostFiles(dir).glob(pattern); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s finds %q, not %q, %v", pattern, got, want, err)
		}
	}
	for _, pattern := range []string{"/etc/[a", `/etc/\*`} {
		if got, err := hostFiles(dir).glob(pattern); err == nil {
			t.Errorf("%s finds %q", pattern, got)
		}
	}
}
