package guest

// Capability is one of capabilities(7).
type Capability struct {
	Name   string // in small letters, without cap_
	Number int
}

// Keeps are the capabilities that a command in a guest's root has: what package
// managers need. A guest without a user namespace is root of the host, and with
// more it would come to the host's disks, kernel settings or network, where its
// runtime alone does not keep it from them.
var Keeps = []Capability{
	{"chown", 0}, {"dac_override", 1}, {"fowner", 3}, {"fsetid", 4}, {"kill", 5}, {"setgid", 6}, {"setuid", 7}, {"setpcap", 8},
	{"linux_immutable", 9}, {"net_bind_service", 10}, {"sys_chroot", 18}, {"sys_resource", 24}, {"audit_write", 29}, {"setfcap", 31},
}
