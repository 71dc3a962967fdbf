package activate

import "time"

// waitOr waits for done, for ten seconds at most.
func waitOr(done <-chan struct{}) {
	select {
	case <-done:
	case <-time.After(10 * time.Second):
	}
}
