package activate

import "os/exec"

// resetNow is A_REBOOT, AD_BOOT of uadmin(2): at once, and never the fast
// reboot, which has a number of its own.
func resetNow() { exec.Command("/sbin/uadmin", "1", "1").Run() }
