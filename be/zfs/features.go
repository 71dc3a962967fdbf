package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// readOnlyCompatible are the features that somebody who only reads may be
// ignorant of (zpool-features(7), READ-ONLY COMPATIBLE; OpenZFS,
// module/zcommon/zfeature_common.c).
var readOnlyCompatible = []string{
	"allocation_classes", "async_destroy", "block_cloning", "block_cloning_endian", "bookmarks",
	"device_rebuild", "empty_bpobj", "enabled_txg", "fast_dedup", "filesystem_limits", "large_microzap",
	"livelist", "log_spacemap", "obsolete_counts", "physical_rewrite", "project_quota", "resilver_defer",
	"spacemap_histogram", "spacemap_v2", "userobj_accounting", "zilsaxattr", "zpool_checkpoint",
}

// topZAP is no feature of its own. extensible_dataset lets the directory of a
// dataset be a ZAP object, which it becomes by a snapshot (OpenZFS 2.1.6,
// snapshots_changed) or a limit; GRUB before 2.12 that knows the feature does
// not expect it of the pool's top dataset (openzfs/zfs#6169, #13873).
const topZAP = "zap_of_top_dataset"

// features are those of the pool that a reader must know: needs are in use,
// and may can come into use by any write or by `zfs set`.
func (s *Store) features(ctx context.Context) (needs, may []string, err error) {
	out, err := s.output(ctx, "zpool", "get", "-Hp", "-o", "property,value", "all", s.pool)
	if err != nil {
		return nil, nil, err
	}
	if needs, may, err = parseFeatures(out); err != nil {
		return nil, nil, err
	}
	if out, err = s.output(ctx, "zfs", "get", "-Hp", "-o", "property,value", "all", s.pool); err != nil {
		return nil, nil, err
	}
	if slices.Contains(needs, "extensible_dataset") && isZAP(out) {
		needs = append(needs, topZAP)
	}
	return needs, may, nil
}

// parseFeatures reads `zpool get -Hp -o property,value all`: feature@NAME is
// disabled, enabled or active, unsupported@GUID is inactive, readonly or absent
// (zpoolprops(7), zpool-features(7)). What it cannot read counts as in use.
func parseFeatures(out string) (needs, may []string, err error) {
	if !strings.Contains(out, "\t") {
		return nil, nil, fmt.Errorf("zpool get says what cannot be understood: %q", out)
	}
	for line := range strings.Lines(out) {
		prop, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if guid, ok := strings.CutPrefix(prop, "unsupported@"); ok {
			// "readonly" would keep the pool from being written to, so that it
			// is no boot environment's.
			if value != "inactive" && value != "readonly" {
				needs = append(needs, guid)
			}
			continue
		}
		name, ok := strings.CutPrefix(prop, "feature@")
		if !ok || slices.Contains(readOnlyCompatible, name) {
			continue
		}
		switch value {
		case "disabled":
		case "enabled":
			may = append(may, name)
		default:
			needs = append(needs, name)
		}
	}
	return needs, may, nil
}

// isZAP reads `zfs get -Hp -o property,value all`: these properties have a
// value only where the dataset's directory is a ZAP object.
func isZAP(out string) bool {
	for line := range strings.Lines(out) {
		prop, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		switch prop {
		case "snapshots_changed", "filesystem_count", "snapshot_count":
			if value != "" && value != "-" && value != "none" {
				return true
			}
		}
	}
	return false
}
