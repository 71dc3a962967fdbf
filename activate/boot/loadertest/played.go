package loadertest

// Played is what a loader started: nothing if ID is empty.
type Played struct {
	ID    string
	Trial bool
}
