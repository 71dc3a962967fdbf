// Package simgrub plays GRUB for tests: what the files that activate/boot/grub
// writes make it do. It is a model; the table in activate/boot/loadertest is
// run against it and against the real one.
package simgrub

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"beadm/activate/boot/grubenv"
)

// Machine is a machine whose GRUB reads Dir, the root of the partition.
type Machine struct {
	Dir string
	// ReadOnly: GRUB cannot write.
	ReadOnly bool
	// Load says whether a kernel or initrd can be loaded, by its path in the
	// entry; nil: all can.
	Load func(path string) bool
}

// Boot is one kernel started.
type Boot struct {
	ID      string // empty: none could be
	Trial   bool
	Args    []string // of the kernel
	Restart bool     // not started, but a reset asked for
}

type entry struct {
	id            string
	normal, trial load
}

type load struct {
	kernel, initrd string
	args           []string
}

// PowerOn returns what runs in the end, through the resets GRUB asks for.
func (m Machine) PowerOn() (Boot, error) {
	for range 3 {
		b, err := m.once()
		if err != nil || !b.Restart {
			return b, err
		}
	}
	return Boot{}, fmt.Errorf("GRUB resets for ever")
}

func (m Machine) path(name string) string { return filepath.Join(m.Dir, "beadm", name) }

func (m Machine) once() (Boot, error) {
	if _, err := os.Stat(m.path("grub.cfg")); err != nil {
		return Boot{}, fmt.Errorf("GRUB does not find its configuration: %w", err)
	}
	baked := ""
	if b, err := os.ReadFile(m.path("default.cfg")); err == nil {
		for _, line := range strings.Split(string(b), "\n") {
			if v, ok := strings.CutPrefix(line, "set beadm_baked="); ok {
				baked = v
			}
		}
	}
	env := m.loadEnv()
	def := env["beadm_default"]
	if def == "" || !m.isEntry(def) {
		def = baked
	}
	trial := ""
	if try := env["beadm_trial"]; try != "" && m.saveEnv(map[string]string{"beadm_trial": "", "beadm_tried": try}) {
		back := m.loadEnv()
		if back["beadm_trial"] == "" && back["beadm_tried"] == try && m.isEntry(try) {
			trial = try
		}
	}
	menu := m.menu(trial, def)
	for i, e := range menu {
		l, isTrial := e.normal, false
		if e.id == trial {
			l, isTrial = e.trial, true
		}
		if m.loads(l.kernel) && m.loads(l.initrd) {
			return Boot{ID: e.id, Trial: isTrial, Args: l.args}, nil
		}
		if isTrial && i == 0 {
			return Boot{Restart: true}, nil
		}
	}
	return Boot{}, nil
}

func (m Machine) loads(path string) bool { return m.Load == nil || m.Load(path) }

func (m Machine) entryPath(id string) string { return m.path("entries/" + id + ".cfg") }

func (m Machine) isEntry(id string) bool {
	info, err := os.Stat(m.entryPath(id))
	return err == nil && info.Mode().IsRegular()
}

var (
	menuLine = regexp.MustCompile(`(?m)^if menuentry '.*' --id '(b[0-9a-f]{12})' `)
	loadLine = regexp.MustCompile(`if linux "(\(\$beadm_root\)|\$beadm_dir)"'([^']*)'([^;]*); then\s+if initrd "(?:\(\$beadm_root\)|\$beadm_dir)"'([^']*)'; then`)
)

// menu lists the entries in the order of grub.cfg. What is not one complete
// statement GRUB does not execute.
func (m Machine) menu(first, second string) []entry {
	files, _ := filepath.Glob(m.path("entries/b*.cfg"))
	sort.Strings(files)
	var menu []entry
	done := map[string]bool{}
	for _, f := range append([]string{m.entryPath(first), m.entryPath(second)}, files...) {
		if done[f] {
			continue
		}
		done[f] = true
		b, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(b), "\nthen\n\tset beadm_new=1\nfi\n") {
			continue
		}
		id := menuLine.FindStringSubmatch(string(b))
		loads := loadLine.FindAllStringSubmatch(string(b), -1)
		if id == nil || len(loads) != 2 {
			continue
		}
		menu = append(menu, entry{id[1], loadOf(loads[1]), loadOf(loads[0])})
	}
	return menu
}

func loadOf(match []string) load {
	l := load{kernel: match[2], initrd: match[4]}
	if match[1] == "$beadm_dir" {
		l.kernel, l.initrd = "/beadm"+l.kernel, "/beadm"+l.initrd
	}
	for _, w := range strings.Fields(match[3]) {
		l.args = append(l.args, strings.Trim(w, "'"))
	}
	return l
}

// loadEnv is grub_envblk_iterate: more lenient than package grubenv.
func (m Machine) loadEnv() map[string]string {
	vars := map[string]string{}
	b, err := os.ReadFile(m.path("env"))
	rest, ok := strings.CutPrefix(string(b), grubenv.Signature)
	if err != nil || !ok {
		return vars
	}
	for rest != "" {
		if rest[0] == '#' {
			_, rest, _ = strings.Cut(rest, "\n")
			continue
		}
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		value := ""
		for i := 0; ; i++ {
			if i >= len(after) {
				return vars
			}
			if after[i] == '\n' {
				rest = after[i+1:]
				break
			}
			if after[i] == '\\' && i+1 < len(after) {
				i++
			}
			value += after[i : i+1]
		}
		vars[name] = value
	}
	return vars
}

// saveEnv is save_env: it writes in place a block that it could read.
func (m Machine) saveEnv(vars map[string]string) bool {
	if m.ReadOnly {
		return false
	}
	b, err := os.ReadFile(m.path("env"))
	if err != nil {
		return false
	}
	e, err := grubenv.Parse(b)
	if err != nil {
		return false
	}
	for _, name := range []string{"beadm_trial", "beadm_tried"} {
		if e.Set(name, vars[name]) != nil {
			return false
		}
	}
	out, err := e.Encode()
	if err != nil {
		return false
	}
	f, err := os.OpenFile(m.path("env"), os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.WriteAt(out, 0)
	return err == nil
}
