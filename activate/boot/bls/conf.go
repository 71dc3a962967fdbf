package bls

import (
	"fmt"
	"strings"
)

// Conf is a loader.conf. What nobody sets keeps its bytes and its place.
type Conf struct{ lines []string }

// ParseConf accepts any bytes, as the loader does.
func ParseConf(b []byte) *Conf { return &Conf{splitLines(string(b))} }

// Get returns what counts for the loader: the last line of that key.
func (c *Conf) Get(key string) (value string, ok bool) {
	for _, line := range c.lines {
		if k, v := keyValue(line); k == key {
			value, ok = v, true
		}
	}
	return value, ok
}

// Set gives key this value in the place of the first line that it has, and
// takes its other lines away.
func (c *Conf) Set(key, value string) error {
	if key == "" || strings.ContainsAny(key, " \t\n\r\x00#\"") {
		return fmt.Errorf("%q is no key of loader.conf", key)
	}
	if err := checkValue(key, value); err != nil {
		return err
	}
	var lines []string
	done := false
	for _, line := range c.lines {
		if k, _ := keyValue(line); k == key {
			if done {
				continue
			}
			line, done = key+" "+value+"\n", true
		}
		lines = append(lines, line)
	}
	c.lines = lines
	if !done {
		c.add(key + " " + value)
	}
	return nil
}

// Remark adds a line that the loader passes over.
func (c *Conf) Remark(text string) error {
	if err := checkValue("a remark", text); err != nil {
		return err
	}
	c.add("# " + text)
	return nil
}

func (c *Conf) add(line string) {
	if n := len(c.lines); n > 0 && !strings.HasSuffix(c.lines[n-1], "\n") {
		c.lines[n-1] += "\n"
	}
	c.lines = append(c.lines, line+"\n")
}

// Encode returns the file.
func (c *Conf) Encode() []byte { return []byte(strings.Join(c.lines, "")) }
