package lvm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Tags.
const (
	tagUUID       = "beadm.uuid="
	tagText       = "beadm.text."
	tagPolicy     = "beadm.policy="
	tagOf         = "beadm.of="
	tagSnap       = "beadm.snap="
	tagAuto       = "beadm.auto"
	tagOpen       = "beadm.open"
	tagIncomplete = "beadm.incomplete="
)

// maxTag is the longest value in a tag: LVM allows 1024 bytes for all of it.
const maxTag = 960

// tagMark begins the two hex digits of a byte that a tag cannot hold.
const tagMark = "#"

var tagByte = regexp.MustCompile(`[^A-Za-z0-9_+.\-/=!:&]`)

// encodeText makes any text one that a tag can hold.
func encodeText(text string) string {
	return tagByte.ReplaceAllStringFunc(text, func(s string) string {
		var out strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&out, "%s%02x", tagMark, s[i])
		}
		return out.String()
	})
}

// textTags are the tags of a description.
func textTags(text string) []string {
	var tags []string
	for rest := encodeText(text); rest != ""; {
		n := min(maxTag, len(rest))
		// An escaped byte is not torn: each tag is text of its own.
		if i := strings.LastIndex(rest[:n], tagMark); n < len(rest) && i > n-3 {
			n = i
		}
		tags = append(tags, fmt.Sprintf("%s%d=%s", tagText, len(tags), rest[:n]))
		rest = rest[n:]
	}
	return tags
}

// textOf is the description that textTags made tags of.
func textOf(tags []string) string {
	var out strings.Builder
	for i := range tags {
		part, ok := value(tags, fmt.Sprintf("%s%d=", tagText, i))
		if !ok {
			break
		}
		if text, ok := unescape(part, tagMark); ok {
			part = text
		}
		out.WriteString(part)
	}
	return out.String()
}

// value is what follows the first tag that begins so.
func value(tags []string, begin string) (string, bool) {
	for _, t := range tags {
		if v, ok := strings.CutPrefix(t, begin); ok {
			return v, true
		}
	}
	return "", false
}

// beginning are the tags that begin so.
func beginning(tags []string, begin string) []string {
	return slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return !strings.HasPrefix(t, begin) })
}
