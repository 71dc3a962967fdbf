package mbox

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func message(n int, headers ...string) string {
	return "From someone@example.org Sat Nov 21 10:00:00 2026\nSubject: " + strconv.Itoa(n) + "\n" +
		strings.Join(headers, "") + "Message-ID: <" + strconv.Itoa(n) + "@example.org>\n\ntext " + strconv.Itoa(n) + "\n>From within\n\n"
}

func union(t testing.TB, old, now string) (string, int) {
	t.Helper()
	a, ok, err := Scan(strings.NewReader(old))
	if !ok || err != nil {
		t.Fatalf("%q: %v %v", old, ok, err)
	}
	b, ok, err := Scan(strings.NewReader(now))
	if !ok || err != nil {
		t.Fatalf("%q: %v %v", now, ok, err)
	}
	parts, lacks := Union(a, b)
	out, err := io.ReadAll(Reader(strings.NewReader(old), strings.NewReader(now), parts))
	if err != nil {
		t.Fatal(err)
	}
	return string(out), lacks
}

func TestUnion(t *testing.T) {
	one, two, three, four := message(1), message(2), message(3), message(4)
	read := message(2, "Status: RO\n", "X-IMAPbase: 17\n 18\n")
	for _, c := range []struct {
		name, old, now, want string
		lacks                int
	}{
		{"truncated", one + two, "", one + two, 2},
		{"truncated, new mail since", one + two, three, one + two + three, 2},
		{"only grown", one + two, one + two + three, one + two + three, 0},
		{"nothing before", "", one, one, 0},
		{"the middle lost", one + two + three, one + three + four, one + two + three + four, 1},
		{"what was read stays read", one + two, read + three, one + read + three, 1},
		{"the same twice", one + one, one, one + one, 1},
		{"the same twice now", one, one + one, one + one, 0},
		{"no empty line at the end", strings.TrimRight(one, "\n"), two, one + two, 1},
		{"ended in a line", strings.TrimRight(one, "\n") + "\n", two, one + two, 1},
		{"the end is another", one + "\n\n", one + two, one + two, 0},
	} {
		if got, lacks := union(t, c.old, c.now); got != c.want || lacks != c.lacks {
			t.Errorf("%s: lacks %d:\n%s\nwanted %d:\n%s", c.name, lacks, got, c.lacks, c.want)
		}
	}
}

func TestNoMailbox(t *testing.T) {
	for _, text := range []string{"\n", "x\n\nFrom a\n", "from a\n", "\x00"} {
		if _, ok, err := Scan(strings.NewReader(text)); ok || err != nil {
			t.Errorf("%q is a mailbox: %v %v", text, ok, err)
		}
	}
	if list, ok, err := Scan(strings.NewReader("")); !ok || err != nil || len(list) != 0 {
		t.Error("an empty file is no mailbox")
	}
}

// A line longer than any buffer is one line: "From " in its middle begins
// nothing, and its message is found again.
func TestLongLines(t *testing.T) {
	for _, n := range []int{256<<10 - 1, 256 << 10, 256<<10 + 1, 1 << 20} {
		long := "From a\nX: " + strings.Repeat("y", n) + "\nStatus: " + strings.Repeat("O", n) + "\n\n" + strings.Repeat("z", n) + "\nFrom there\n"
		list, ok, err := Scan(strings.NewReader(long + "\n" + message(1)))
		if !ok || err != nil || len(list) != 2 {
			t.Fatalf("%d: %d messages %v %v", n, len(list), ok, err)
		}
		got, lacks := union(t, long, strings.Replace(long, "Status: O", "Status: R", 1))
		if lacks != 0 || !strings.HasPrefix(got, "From a") {
			t.Errorf("%d: a message with another status is another", n)
		}
	}
}

// Whatever was lost and came since: all of both are there once, in order.
func TestUnionOfRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		var old, now []string
		want := map[string]int{}
		for n := range r.IntN(20) {
			old = append(old, message(n))
			want[message(n)] = 1
			if r.IntN(2) == 0 {
				now = append(now, message(n))
			}
		}
		for n := range r.IntN(5) {
			now = append(now, message(100+n))
			want[message(100+n)] = 1
		}
		out, _ := union(t, strings.Join(old, ""), strings.Join(now, ""))
		var got []string
		for _, m := range strings.SplitAfter(out, ">From within\n\n") {
			if m != "" {
				got = append(got, m)
				want[m]--
			}
		}
		for m, n := range want {
			if n != 0 {
				t.Fatalf("%d too few of:\n%s", n, m)
			}
		}
		if !slices.Equal(got[:len(old)], old) {
			t.Fatal("the old ones are not in their order")
		}
		again, lacks := union(t, strings.Join(old, ""), out)
		if lacks != 0 || again != out {
			t.Fatal("done twice it changes something")
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(message(1) + message(2)))
	f.Add([]byte("From \n\nFrom "))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, ok, err := Scan(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		var end int64
		for _, m := range list {
			if m.Offset != end || m.Size <= 0 {
				t.Fatalf("a message at %d behind one that ends at %d", m.Offset, end)
			}
			end += m.Size
		}
		if ok && end != int64(len(b)) {
			t.Fatalf("the messages end at %d of %d", end, len(b))
		}
	})
}
