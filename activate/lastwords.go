package activate

import "sync"

// mostWords is how many bytes of what a program said are kept: they go into the
// state, the history, mail and logs.
const mostWords = 4 << 10

// lastWords keeps the end of what is written to it. What a program left running
// may write to it still.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

func (w *lastWords) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p[max(0, len(p)-mostWords):]...)
	if cut := len(w.text) - mostWords; cut > 0 {
		w.text = append(w.text[:0], w.text[cut:]...)
	}
	return len(p), nil
}

func (w *lastWords) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]byte(nil), w.text...)
}

// inBrief is text as one printable line of at most mostWords bytes.
func inBrief(text string) string {
	text = printable(text)
	if len(text) > mostWords {
		text = text[:mostWords-3] + "..."
	}
	return printable(text) // a character may have been cut
}
