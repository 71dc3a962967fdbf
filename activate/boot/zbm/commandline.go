package zbm

import (
	"errors"
	"slices"
	"strings"

	"beadm/activate/boot"
)

// parent is expanded by ZFSBootMenu to the commandline of the dataset above
// (zfsbootmenu(7), org.zfsbootmenu:commandline).
const parent = "%{parent}"

// plain says why a word cannot stand unquoted in a commandline, and in
// zbm.kcl_override within its double quotes.
func plain(word string) error {
	if word == "" {
		return errors.New("it is empty")
	}
	for i := range len(word) {
		if c := word[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"'\\`$", c) >= 0 {
			return errors.New("a blank, a quote, $ or what is no ASCII is in it")
		}
	}
	return nil
}

// words splits at blanks outside of quotes, and leaves the quotes.
func words(s string) []string {
	var out []string
	var word strings.Builder
	quote := byte(0)
	for i := range len(s) {
		c := s[i]
		switch {
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if word.Len() > 0 {
				out = append(out, word.String())
			}
			word.Reset()
			continue
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote:
			quote = 0
		}
		word.WriteByte(c)
	}
	if word.Len() > 0 {
		out = append(out, word.String())
	}
	return out
}

// without is a commandline less what we added to it: the words of args, and
// whatever says which boot environment it is for, which a clone has of its
// source. Nothing left is what there is without the property: the parent's.
func without(commandline string, args []string) string {
	rest := slices.DeleteFunc(words(commandline), func(w string) bool {
		name, _, _ := strings.Cut(w, "=")
		return name == boot.ArgBE || name == boot.ArgTrial || name == boot.ArgPassed || slices.Contains(args, w)
	})
	if len(rest) == 0 {
		return parent
	}
	return strings.Join(rest, " ")
}

// merge is what a boot environment's commandline is to be: what is there, less
// what was ours, and then args. A dataset that has none of its own, have is
// empty, goes on to follow its parent.
func merge(have string, was, args []string) string {
	return without(have, append(slices.Clone(was), args...)) + " " + strings.Join(args, " ")
}

// effective is the commandline that ZFSBootMenu finds for a dataset.
func effective(d Datasets, dataset string) string {
	for name := dataset; name != ""; name = above(name) {
		if value := d.Local[name][propCommandline]; value != "" {
			if strings.Contains(value, parent) {
				value = strings.ReplaceAll(value, parent, effective(d, above(name)))
			}
			return strings.Join(words(value), " ")
		}
	}
	return ""
}

// above is the dataset that a dataset stands in; empty for a pool.
func above(dataset string) string {
	i := strings.LastIndexByte(dataset, '/')
	if i < 0 {
		return ""
	}
	return dataset[:i]
}

// override is the load options with which ZFSBootMenu starts dataset at once,
// with the kernel's arguments kernel, and is itself told what base says
// (zfsbootmenu(7): zbm.prefer takes a dataset from 3.1.0 on).
func override(base, dataset, kernel string) (string, error) {
	if strings.ContainsAny(kernel, "\"\\") {
		return "", errors.New("a double quote or backslash in the kernel's arguments cannot be handed on by ZFSBootMenu: take it out of org.zfsbootmenu:commandline")
	}
	rest := slices.DeleteFunc(words(base), func(w string) bool {
		name, _, _ := strings.Cut(w, "=")
		return slices.Contains([]string{"zbm.prefer", "zbm.timeout", "zbm.show", "zbm.skip", "zbm.kcl_override", "timeout", "panic"}, name)
	})
	return strings.Join(append(rest, "zbm.prefer="+dataset, "zbm.timeout=0", "panic=30", `zbm.kcl_override="`+kernel+`"`), " "), nil
}

// preferred is the dataset that load options made by override name.
func preferred(options string) string {
	dataset := ""
	for _, w := range words(options) {
		if value, ok := strings.CutPrefix(w, "zbm.prefer="); ok {
			dataset = value
		}
	}
	return dataset
}
