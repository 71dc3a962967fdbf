// Package mounttable reads what is mounted in this process's mount namespace, and
// takes it away. It is for Linux.
package mounttable
