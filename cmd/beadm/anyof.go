package main

import (
	"slices"
	"strings"

	"beadm/be"
)

// anyOf is a flag that stands alone, for all, or with a list behind "=".
type anyOf struct {
	given bool
	list  []string
}

// IsBoolFlag makes package flag take it without a value, as "true".
func (a *anyOf) IsBoolFlag() bool { return true }

func (a *anyOf) String() string { return strings.Join(a.list, ",") }

func (a *anyOf) Set(value string) error {
	a.given = true
	if value == "true" {
		return nil
	}
	a.list = append(a.list, strings.Split(value, ",")...)
	return nil
}

// check is apart from Set, whose errors package flag says are of a boolean.
func (a *anyOf) check(name, like string) error {
	if slices.Contains(a.list, "") {
		return be.E(be.Usage, "a word of --%s is empty: give them as --%s=%s", name, name, like)
	}
	return nil
}
