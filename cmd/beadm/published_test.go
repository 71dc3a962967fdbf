//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// commandIn is the command among the words of a command line.
func commandIn(args []string) string {
	var name []string
	cmds := newApp(streams{}).Commands
	guests := false
	for _, word := range args {
		if word == "--" {
			break
		}
		guests = guests || word == "-g" || word == "--guest" || word == "-j"
		if at := slices.IndexFunc(cmds, func(c *cli.Command) bool { return c.HasName(word) }); at >= 0 {
			name, cmds = append(name, cmds[at].Name), cmds[at].Subcommands
			if len(cmds) == 0 {
				break
			}
		}
	}
	if guests && !slices.Contains(name, "guest") {
		return "guests"
	}
	return strings.Join(name, " ")
}

// asPublished holds what a command printed with --json to its schema.
func asPublished(t *testing.T, r result) {
	t.Helper()
	name := commandIn(r.args)
	names := []string{name}
	if name == "guests" {
		names = []string{"guests", "guests activate"}
	}
	if slices.Contains([]string{"", "schema", "help", "completion"}, name) {
		return
	}
	var v any
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		return // whoever asked for it will say so
	}
	var why []string
	for _, name := range names {
		s, err := schemaOf(name)
		if err != nil {
			t.Errorf("%v: %v", err, r)
			return
		}
		// As a program reads it.
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var read schema
		if err := json.Unmarshal(b, &read); err != nil {
			t.Fatal(err)
		}
		bad := validate(read, read["$defs"].(schema), v, "")
		if len(bad) == 0 {
			return
		}
		why = append(why, bad...)
	}
	t.Errorf("it is not what beadm schema %s says: %s\n%v", name, strings.Join(why, "; "), r)
}

// validate says what is wrong with a value, in the part of JSON schema that our
// own are written in.
func validate(s, defs schema, v any, at string) (bad []string) {
	wrong := func(format string, args ...any) { bad = append(bad, at+": "+fmt.Sprintf(format, args...)) }
	for key, rule := range s {
		switch key {
		case "$schema", "$defs", "title", "required", "contentEncoding", "items":
		case "$ref":
			bad = append(bad, validate(defs[strings.TrimPrefix(rule.(string), "#/$defs/")].(schema), defs, v, at)...)
		case "allOf":
			for _, part := range rule.([]any) {
				bad = append(bad, validate(part.(schema), defs, v, at)...)
			}
		case "anyOf":
			var all []string
			fits := false
			for _, part := range rule.([]any) {
				why := validate(part.(schema), defs, v, at)
				fits = fits || len(why) == 0
				all = append(all, why...)
			}
			if !fits {
				bad = append(bad, all...)
			}
		case "type":
			if got := typeOf(v); got != rule && !(rule == "number" && got == "integer") {
				wrong("is of type %s, not %s", got, rule)
			}
		case "format":
			if _, err := time.Parse(time.RFC3339, fmt.Sprint(v)); err != nil {
				wrong("%v", err)
			}
		case "properties", "additionalProperties":
		default:
			wrong("nothing is known of the rule %s", key)
		}
	}
	switch v := v.(type) {
	case []any:
		if items, is := s["items"].(schema); is {
			for i, e := range v {
				bad = append(bad, validate(items, defs, e, fmt.Sprintf("%s[%d]", at, i))...)
			}
		}
	case map[string]any:
		properties, _ := s["properties"].(schema)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			part, known := properties[key].(schema)
			more, described := s["additionalProperties"].(schema)
			switch {
			case known:
				bad = append(bad, validate(part, defs, v[key], at+"."+key)...)
			case described:
				bad = append(bad, validate(more, defs, v[key], at+"."+key)...)
			case s["additionalProperties"] == false:
				wrong("has %s", key)
			}
		}
		required, _ := s["required"].([]any)
		for _, key := range required {
			if _, there := v[key.(string)]; !there {
				wrong("lacks %s", key)
			}
		}
	}
	return bad
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}
