package lvm

import (
	"strings"

	"beadm/be"
)

// properties are those that can be given with -o.
type properties struct {
	readOnly *bool // nil: as the source is
}

func parseProperties(list []string) (p properties, err error) {
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		switch {
		case !ok:
			return p, be.E(be.Usage, "property %q is not NAME=VALUE", text)
		case name == "ro" && (value == "true" || value == "false"), name == "readonly" && (value == "on" || value == "off"):
			on := value == "true" || value == "on"
			p.readOnly = &on
		default:
			return p, be.E(be.Usage, "property %q is none of a volume of LVM: there is readonly=on|off, or ro=true|false", text)
		}
	}
	return p, nil
}
