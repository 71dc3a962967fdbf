package state

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// A key that is taken for unknown could be set once and never changed again.
func TestEveryKeyIsKnown(t *testing.T) {
	full, err := json.Marshal(fullState)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(full, &keys); err != nil {
		t.Fatal(err)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[State]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if _, ok := keys[name]; f.IsExported() && !ok {
			t.Errorf("%s (%s) is not in fullState", f.Name, name)
		}
	}
	var s State
	if err := json.Unmarshal([]byte(`{"share_separate":[{"path":"/var/log","volume":"x"}]}`), &s); err != nil {
		t.Fatal(err)
	}
	s.Separate = nil
	if data, err := json.Marshal(&s); err != nil || strings.Contains(string(data), "/var/log") {
		t.Errorf("a separate file system that was taken off is still there: %s, %v", data, err)
	}
}
