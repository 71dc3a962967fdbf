package zfs

import (
	"strings"
	"testing"
)

func TestParseGet(t *testing.T) {
	props := []string{"type", "a:text"}
	good := "p/R\ttype\t-\tfilesystem\np/R\ta:text\tlocal\twith\ta tab\np/R/x@s\ttype\t-\tsnapshot\np/R/x@s\ta:text\tinherited from p/R\twith\ta tab\n"
	tr, err := parseGet(strings.NewReader(good), props, "p/R")
	if err != nil {
		t.Fatal(err)
	}
	if got := tr.by["p/R"].local("a:text"); got != "with\ta tab" {
		t.Errorf("the text is %q", got)
	}
	if got := tr.by["p/R/x@s"].local("a:text"); got != "" {
		t.Errorf("the inherited text counts as local: %q", got)
	}
	for what, text := range map[string]string{
		"cut off":                   good + "p/R/y\ttype",
		"a property missing":        good + "p/R/y\ttype\t-\tfilesystem\n",
		"another dataset":           good + "q\ttype\t-\tfilesystem\nq\ta:text\t-\t-\n",
		"the beginning of its name": good + "p/Root\ttype\t-\tfilesystem\np/Root\ta:text\t-\t-\n",
		"another property":          good + "p/R\tguid\t-\t1\n",
		// What a newline in a value of somebody else's could forge.
		"a value of lines":     good + "more of it\n",
		"a second value":       good + "p/R\ttype\t-\tvolume\n",
		"an empty line within": "\n" + good,
		"no name":              "\ttype\t-\tfilesystem\n" + good,
		"no source":            strings.Replace(good, "\t-\tfilesystem", "\t\tfilesystem", 1),
	} {
		if _, err := parseGet(strings.NewReader(text), props, "p/R"); err == nil {
			t.Errorf("%s: understood", what)
		}
	}
	if tr, err := parseGet(strings.NewReader(""), props, "p/R"); err != nil || len(tr.names) != 0 {
		t.Errorf("no line: %v, %v", tr, err)
	}
}

func TestParseLocal(t *testing.T) {
	all, err := parseLocal("p/a\tcompression\tlocal\tlz4\np/a\tx:note\treceived\tone\ntwo\tand\n\nthree\np/a/b\tatime\tlocal\toff\n", "p/a")
	if err != nil {
		t.Fatal(err)
	}
	if got := all["p/a"][1].value; got != "one\ntwo\tand\n\nthree" {
		t.Errorf("a value of lines is %q", got)
	}
	if len(all["p/a"]) != 2 || len(all["p/a/b"]) != 1 {
		t.Errorf("read %v", all)
	}
	if _, err := parseLocal("nonsense\n", "p/a"); err == nil {
		t.Error("nonsense: understood")
	}
	if all, err := parseLocal("", "p/a"); err != nil || len(all) != 0 {
		t.Errorf("no line: %v, %v", all, err)
	}
}

func TestCloneSettings(t *testing.T) {
	got := cloneSettings([]setting{
		{"compression", "zstd"}, {"canmount", "on"}, {"mountpoint", "/"}, {"encryption", "aes-256-gcm"}, {"volsize", "1"},
		{propUUID, "x"}, {propLibbeUUID, "x"}, {propDescription, "x"}, {propAuto, "x"}, {propPolicy, "volatile"}, {"com.sun:note", "x"},
	}, "on", "")
	var text []string
	for _, p := range got {
		text = append(text, p.name+"="+p.value)
	}
	want := "compression=zstd mountpoint=/ " + propPolicy + "=volatile com.sun:note=x canmount=noauto"
	if strings.Join(text, " ") != want {
		t.Errorf("a clone gets %v, want %s", text, want)
	}
	for in, want := range map[string]string{"/z": "/", "/z/opt": "/opt", "/zoo": "/zoo", "legacy": "legacy"} {
		if got := cloneSettings([]setting{{"mountpoint", in}}, "on", "/z"); got[0].value != want {
			t.Errorf("below altroot /z the mount point %s becomes %s, want %s", in, got[0].value, want)
		}
	}
	if got := cloneSettings(nil, "off", ""); len(got) != 1 || got[0].value != "off" {
		t.Errorf("of one that only holds others: %v", got)
	}
}

func TestEscape(t *testing.T) {
	for _, text := range []string{"", "plain", "tab\tnewline\n100% \x7f ü %41 %"} {
		if got := unescape(escape(text)); got != text {
			t.Errorf("%q became %q", text, got)
		}
		if strings.ContainsAny(escape(text), "\t\n\x7f") {
			t.Errorf("%q is escaped as %q", text, escape(text))
		}
	}
	if got := unescape("50 % of it, and %zz"); got != "50 % of it, and %zz" {
		t.Errorf("what somebody else wrote became %q", got)
	}
}
