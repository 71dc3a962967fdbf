module beadm

go 1.25.0
