package share

import (
	"path"
	"strings"

	"beadm/be/rooted"
)

// fstabMounts are the directories at which the root's fstab(5) mounts something,
// but not the root itself: none where it cannot be read.
func fstabMounts(r *rooted.Root) []string {
	data, err := r.ReadFileLimit("/etc/fstab", 1<<20)
	if err != nil {
		return nil
	}
	var list []string
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || !strings.HasPrefix(f[1], "/") {
			continue
		}
		if at := path.Clean(unescape(f[1])); at != "/" && at != "/var" {
			list = append(list, at)
		}
	}
	return list
}

// unescape undoes the \ooo of mountinfo and fstab(5).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			var n int
			ok := true
			for _, c := range s[i+1 : i+4] {
				if c < '0' || c > '7' {
					ok = false
				}
				n = n*8 + int(c-'0')
			}
			if ok {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
