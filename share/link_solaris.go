package share

import "os"

// sameLink: golang.org/x/sys/unix has no readlinkat for illumos. Two links
// that cannot be compared collide.
func sameLink(_, _ *os.File, _ string) bool { return false }
