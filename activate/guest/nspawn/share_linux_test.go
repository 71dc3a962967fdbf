package nspawn

import "testing"

func TestMapsUsers(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                       true,
		"[Exec]\nPrivateUsers=no\n":              false,
		"[Exec]\nPrivateUsers = False\n":         false,
		"[Exec]\nPrivateUsers=pick\n":            true,
		"[Exec]\nPrivateUsers=65536:65536\n":     true,
		"[Files]\nPrivateUsersOwnership=chown\n": false,
		"[Exec]\n#PrivateUsers=no\n[Network]\nPrivate=yes\n":     true,
		"[Exec]\nPrivateUsers=no\n[Exec]\nPrivateUsers=identity": true,
	} {
		if got := mapsUsers([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
