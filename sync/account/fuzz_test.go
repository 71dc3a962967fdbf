package account

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzMerge: account files of any bytes are merged without panic; lines that are
// no records are kept, who was locked there is locked, doing it twice is doing
// it once.
func FuzzMerge(f *testing.F) {
	f.Add(byte(0), []byte("a:x:1:1::/:/bin/sh\n+::::::\n"), []byte("a:x:1:1::/:/bin/false\n"), []byte("# c\na:x:1:1::/:/bin/sh\n"), []byte("broken\n\na:x:1:1:G:/:/bin/sh"))
	f.Add(byte(2), []byte("a:h:1::::::\n"), []byte("a:!h:1::::::\n"), []byte("a:h:1::::::\n"), []byte("a:i:2:::::9:\n"))
	f.Add(byte(2), []byte("a:h:1::::::\n"), []byte("a:!h:1::::::\n"), []byte("a:h:1::::::\n"), []byte("a:h:1::::::\na:i:2:::::9:\na:j\n"))
	f.Add(byte(4), []byte("g:x:5:a,b\n"), []byte("g:x:5:b,,c\n"), []byte("g:x:5:\n"), []byte("g:x:5:d\ng:x:5:d\n"))
	f.Add(byte(6), []byte("a:1:10\n"), []byte("a:1:10\nb:5:99999999999999999999\n"), []byte(""), []byte("c:18446744073709551615:9223372036854775807\n"))
	f.Add(byte(2), []byte("a:h:1::::::\r\n"), []byte("a:!h:1::::::\n"), []byte("a:h:1::::::\n"), []byte("a:h:1::::::\r\n"))
	f.Add(byte(4), []byte("g:x:5:a,b\n"), []byte("g:x:5:b\r\nh:x:6:\r\n"), []byte("g:x:5:a,b\r\n"), []byte("g:x:5:a,b\r\n+\r\n"))
	f.Fuzz(func(t *testing.T, which byte, old, new, base, cur []byte) {
		kind := Kinds[int(which)%len(Kinds)]
		db := func(data []byte) Database { return Database{kind: Parse(kind, data)} }
		ended := cur
		if len(cur) > 0 && !bytes.HasSuffix(cur, []byte("\n")) {
			ended = append(bytes.Clone(cur), '\n')
		}
		if got := Parse(kind, cur).Bytes(); len(cur) > 1 && !bytes.Equal(got, ended) {
			t.Fatalf("read and written, %q is %q", cur, got)
		}
		o, n, b, c := db(old), db(new), db(base), db(cur)
		d := DiffAll(o, n)
		res, _ := Merge(d, n, b, c)
		for _, l := range c[kind].lines {
			name, _, _ := strings.Cut(l.text, ":")
			if _, touched := d[kind][name]; l.key == "" && !touched && !bytes.Contains(append([]byte("\n"), res[kind].Bytes()...), []byte("\n"+l.text+"\n")) {
				t.Fatalf("the line %q is gone from\n%s", l.text, res[kind].Bytes())
			}
		}
		again, _ := Merge(d, n, Moved(d, b, c, res), res)
		if !bytes.Equal(again[kind].Bytes(), res[kind].Bytes()) {
			t.Fatalf("once:\n%s\ntwice:\n%s", res[kind].Bytes(), again[kind].Bytes())
		}
		if kind == Shadow || kind == MasterPasswd {
			for _, key := range c[kind].Keys() {
				x, y, z := o[kind].Get(key), n[kind].Get(key), res[kind].Get(key)
				if nis(key) || x == nil || y == nil || z == nil || !sameShape(x, y, z) || b[kind].Get(key) != nil && !sameShape(x, b[kind].Get(key)) {
					continue
				}
				if Locked(y[1]) && !Locked(x[1]) && !Locked(z[1]) {
					t.Fatalf("%q was locked there and is open here:\n%s", key, res[kind].Bytes())
				}
				for _, l := range res[kind].lines {
					if f := strings.Split(l.text, ":"); Locked(y[1]) && !Locked(x[1]) && f[0] == key && len(f) > 1 && !Locked(f[1]) {
						t.Fatalf("%q was locked there and is open here in %q:\n%s", key, l.text, res[kind].Bytes())
					}
				}
			}
		}
		Merge(d.Security(), n, b, c)
		Unite(n, c)
		d.Then(DiffAll(n, c))
	})
}
