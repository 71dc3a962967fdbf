//go:build linux && bench

package zfs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// rows is what zfs get prints of n datasets and snapshots, as scan asks for them.
func rows(n int) string {
	var out strings.Builder
	for i := range n {
		name := fmt.Sprintf("rpool/ROOT/be%03d/part%d", i/80, i/4%20)
		if i%4 > 0 {
			name += fmt.Sprintf("@2026-11-%02d-daily", i%4)
		}
		for _, prop := range scanned {
			value, source := fmt.Sprint(1700000000+i*7919), "-"
			switch prop {
			case "mountpoint":
				value, source = fmt.Sprintf("/usr/part%d", i/4%20), "inherited from rpool/ROOT/be"
			case "canmount", "readonly", "atime", "relatime", "setuid", "devices", "exec":
				value, source = "on", "default"
			case "origin", "clones":
				value = name + "@origin"
			}
			fmt.Fprintf(&out, "%s\t%s\t%s\t%s\n", name, prop, source, value)
		}
	}
	return out.String()
}

// BenchmarkParse reads what ZFS says of 10,000 datasets and snapshots.
func BenchmarkParse(b *testing.B) {
	text := rows(10000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseGet(strings.NewReader(text), scanned, "rpool/ROOT"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestBenchParse measures the most memory that a process has which reads them,
// and adds it to the file that BEADM_BENCH names.
func TestBenchParse(t *testing.T) {
	const n, bound = 10000, 64 << 20
	if os.Getenv("BEADM_PARSE") != "" { // that process
		tr, err := parseGet(os.Stdin, scanned, "rpool/ROOT")
		if err != nil || len(tr.names) != n {
			t.Fatalf("it read %d: %v", len(tr.names), err)
		}
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.Write(status)
		return
	}
	file := os.Getenv("BEADM_BENCH")
	if file == "" {
		t.Fatal("BEADM_BENCH names no file: call make bench")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchParse$")
	cmd.Env = append(os.Environ(), "BEADM_PARSE=1")
	cmd.Stdin = strings.NewReader(rows(n))
	out, err := cmd.CombinedOutput()
	_, peak, found := strings.Cut(string(out), "VmHWM:")
	kb, number := strconv.Atoi(strings.TrimSpace(strings.SplitN(peak, "kB", 2)[0]))
	if err != nil || !found || number != nil {
		t.Fatalf("%v: %s", err, out)
	}
	line, err := json.Marshal(map[string]any{
		"name": "reading 10,000 rows of zfs get, the most memory of the process", "bytes": kb << 10, "bound_bytes": bound, "ok": kb<<10 <= bound,
	})
	if err != nil {
		t.Fatal(err)
	}
	to, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := to.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	if kb<<10 > bound {
		t.Errorf("it takes %d kB", kb)
	}
}
