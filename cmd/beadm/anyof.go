package main

import (
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
	for _, one := range strings.Split(value, ",") {
		if one == "" {
			return be.E(be.Usage, "a path is empty: give them as /var/mail,/var/spool")
		}
		a.list = append(a.list, one)
	}
	return nil
}
