package jail

// Programs of the host, by path: what is looked up in PATH may be anybody's.
const (
	jail     = "/usr/sbin/jail"
	jls      = "/usr/sbin/jls"
	jexec    = "/usr/sbin/jexec"
	sysrc    = "/usr/sbin/sysrc"
	ps       = "/bin/ps"
	zfs      = "/sbin/zfs"
	bastille = "/usr/local/bin/bastille"
	iocage   = "/usr/local/bin/iocage"
)

// environ is what service(8) leaves to a program: a jail's services are started
// with no more. No LANG and LC_* is the C locale.
var environ = []string{"HOME=/", "PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"}
