package manifest

import (
	"os"
	"strings"
	"sync"
)

// bootID names this boot of the machine, proc(5); nothing where it has no name.
var bootID = sync.OnceValue(func() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
})
