module beadm

go 1.24.0

require (
	github.com/gobwas/glob v1.1.0 // indirect
	golang.org/x/sys v0.36.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)
