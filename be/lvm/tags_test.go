package lvm

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestAnyTextInTags: LVM takes the tags of any description, and it comes back.
func TestAnyTextInTags(t *testing.T) {
	allowed := regexp.MustCompile(`^[A-Za-z0-9_+.][A-Za-z0-9_+.\-/=!:&#]*$`)
	same := func(text string) string {
		tags := textTags(text)
		for _, tag := range tags {
			if !allowed.MatchString(tag) || len(tag) > 1024 {
				return "tag " + tag
			}
		}
		if got := textOf(tags); got != text {
			return got
		}
		return ""
	}
	for _, text := range []string{"", "plain", "a#20b", "tab\tand ü, = and \"quotes\"", "-x", strings.Repeat("long ", 1000), strings.Repeat("x", maxTag-1) + "üx", strings.Repeat("x", maxTag-2) + "üx"} {
		if got := same(text); got != "" {
			t.Errorf("%q came back as %q", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if got := same(text); got != "" {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
}

// TestTagsOfOneText: another order, and tags of others between, change nothing.
func TestTagsOfOneText(t *testing.T) {
	tags := textTags(strings.Repeat("a b", 1000))
	if len(tags) < 3 {
		t.Fatalf("%d tags", len(tags))
	}
	mixed := []string{"mine", tags[2], tags[0], "beadm.uuid=x", tags[1]}
	mixed = append(mixed, tags[3:]...)
	if got := textOf(mixed); got != strings.Repeat("a b", 1000) {
		t.Errorf("it is %q", got)
	}
}
