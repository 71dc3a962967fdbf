package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"beadm/be"
)

// fixed are properties that a clone has from its snapshot and that cannot be
// set on it (zfsprops(7), "set at creation time").
var fixed = []string{
	"casesensitivity", "encryption", "keyformat", "keylocation", "normalization",
	"pbkdf2iters", "utf8only", "version", "volblocksize", "volsize",
}

// facts are native properties that nobody sets (zfsprops(7), "read-only native").
var facts = []string{
	"available", "clones", "compressratio", "createtxg", "creation", "defer_destroy", "encryptionroot",
	"filesystem_count", "guid", "keystatus", "logicalreferenced", "logicalused", "mounted", "name", "objsetid",
	"origin", "receive_resume_token", "redact_snaps", "refcompressratio", "referenced", "snapshot_count",
	"snapshots_changed", "type", "used", "usedbychildren", "usedbydataset", "usedbyrefreservation",
	"usedbysnapshots", "userrefs", "written",
}

// CheckProperties asks ZFS whether it knows them.
func (s *Store) CheckProperties(ctx context.Context, opts be.CreateOptions) error {
	_, err := s.parseProperties(ctx, opts)
	return problem(err, "cannot create boot environment %s", opts.Name)
}

// parseProperties reads P=V. Those that keep a boot environment in its place
// cannot be given.
func (s *Store) parseProperties(ctx context.Context, opts be.CreateOptions) ([]setting, error) {
	var list []setting
	var ask []string
	for _, text := range opts.Properties {
		name, value, ok := strings.Cut(text, "=")
		switch {
		case !ok || name == "":
			return nil, be.E(be.Usage, "property %q is not NAME=VALUE", text)
		case name == "canmount", name == "mountpoint", strings.HasPrefix(name, "org.beadm:"), name == propLibbeUUID:
			return nil, be.E(be.Usage, "property %s cannot be given: beadm sets it", name)
		case slices.Contains(facts, name), strings.ContainsRune(name, '@') && !strings.ContainsRune(name, ':') && !isQuota(name):
			return nil, be.E(be.Usage, "property %s cannot be given: it is read-only", name)
		case slices.Contains(fixed, name) && opts.From != "":
			return nil, be.E(be.Usage, "property %s cannot be given: a clone has that of what it comes from", name)
		case strings.ContainsAny(name, ", \t\n"):
			return nil, be.E(be.Usage, "%q is no name of a property", name)
		case !strings.ContainsAny(name, ":@"):
			ask = append(ask, name)
		}
		list = append(list, setting{name, value})
	}
	if len(ask) == 0 {
		return list, nil
	}
	_, err := s.output(ctx, "zfs", "get", "-Hp", "-o", "value", strings.Join(ask, ","), s.root)
	var tool *toolError
	if errors.As(err, &tool) && strings.Contains(tool.stderr, "invalid property") {
		return nil, be.E(be.Usage, "ZFS has no such property: %s", strings.Join(ask, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask which properties there are: %w", err)
	}
	return list, nil
}

// isQuota reports whether it is one of a user, group or project.
func isQuota(name string) bool {
	kind, _, _ := strings.Cut(name, "@")
	return strings.HasSuffix(kind, "quota")
}
