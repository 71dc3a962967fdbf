package main

// runtimeDir is where our mounts are made, root's alone: a tmpfs from the
// first moment of a boot on.
const runtimeDir = "/etc/svc/volatile/beadm"
