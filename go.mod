module beadm

go 1.24.0
