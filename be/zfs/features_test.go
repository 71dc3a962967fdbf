package zfs

import (
	"slices"
	"strings"
	"testing"
)

func TestFeatures(t *testing.T) {
	inUse := "lz4_compress hole_birth embedded_data"
	may := "multi_vdev_crash_dump large_blocks large_dnode sha512 skein edonr encryption device_removal bookmark_v2 redaction_bookmarks redacted_datasets bookmark_written"
	for _, c := range []struct{ name, text, needs, may string }{
		{"grub2", string(recorded(t, "zpool-get-all.grub2.openzfs-2.1.11")), inUse, "extensible_dataset large_blocks"},
		{"upgraded", string(recorded(t, "zpool-get-all.upgraded.openzfs-2.1.11")), inUse, "extensible_dataset " + may + " zstd_compress draid"},
		{"zstd", string(recorded(t, "zpool-get-all.zstd.openzfs-2.1.11")), inUse + " extensible_dataset zstd_compress", may + " draid"},
		{"of a newer system", "feature@lz4_compress\tactive\nunsupported@com.example:warp\tinactive\nunsupported@com.example:fold\tsomehow\nfeature@new\tstrange\n", "lz4_compress com.example:fold new", ""},
		{"before features", "version\t28\nbootfs\t-\n", "", ""},
	} {
		needs, may, err := parseFeatures(c.text)
		slices.Sort(needs)
		slices.Sort(may)
		for what, pair := range map[string][2][]string{"needs": {needs, strings.Fields(c.needs)}, "may need": {may, strings.Fields(c.may)}} {
			slices.Sort(pair[1])
			if err != nil || !slices.Equal(pair[0], pair[1]) {
				t.Errorf("%s %s %q %v, want %q", c.name, what, pair[0], err, pair[1])
			}
		}
	}
	if _, _, err := parseFeatures(""); err == nil {
		t.Error("nothing is understood as no features")
	}
}

func TestTopDatasetThatGRUBDoesNotFind(t *testing.T) {
	plain := string(recorded(t, "zfs-get-all.top.openzfs-2.1.11"))
	if isZAP(plain) {
		t.Error("a dataset without limits has a ZAP")
	}
	// OpenZFS 2.2, zfsprops(7): snapshots_changed.
	for _, line := range []string{"snapshots_changed\t1700000000\n", "snapshot_count\t3\n", "filesystem_count\t0\n"} {
		prop, _, _ := strings.Cut(line, "\t")
		before, _, found := strings.Cut(plain, prop+"\t")
		if !found {
			before = plain
		}
		if !isZAP(before + line) {
			t.Errorf("%q: no ZAP", line)
		}
	}
	if isZAP("snapshots_changed\t-\nsnapshot_count\tnone\n") {
		t.Error("a dataset without snapshots has a ZAP")
	}
}

func TestDevices(t *testing.T) {
	// The form is that of zpool-status(8) of OpenZFS 2.1, EXAMPLES and cmd/zpool.
	out := `  pool: rpool
 state: DEGRADED
status: One or more devices could not be used because the label is missing or
	/dev/not/this ONLINE
action: Replace the device using 'zpool replace'.
config:

	NAME           STATE     READ WRITE CKSUM
	rpool          DEGRADED     0     0     0
	  mirror-0     DEGRADED     0     0     0
	    /dev/sda3  ONLINE       0     0     0
	    /dev/dm-1  DEGRADED     0     0     0
	    8723648    UNAVAIL      0     0     0  was /dev/sdb3
	special
	  /dev/nvme0n1p1  ONLINE       0     0     0
	logs
	  /dev/sdc1    ONLINE       0     0     0

errors: No known data errors
`
	if got, want := devices(out), []string{"/dev/sda3", "/dev/dm-1", "/dev/nvme0n1p1"}; !slices.Equal(got, want) {
		t.Errorf("they are %q, want %q", got, want)
	}
}
