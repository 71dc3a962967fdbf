package main

// runtimeDir is where our mounts are made, root's alone. Nothing but / is
// mounted when boot runs, and rc.d/cleanvar empties /var/run, with whatever is
// mounted there.
const runtimeDir = "/.beadm-run"
