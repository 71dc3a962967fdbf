// Package simpool stands for a machine of FreeBSD or illumos with one pool: it
// answers the programs that our loaders call there, as their sources say that
// they answer (sbin/zfsbootcfg/zfsbootcfg.c, freebsd-src at 3af9b94;
// cmd/eeprom of illumos), and boots as their boot loaders do. There is
// no such machine where this is tested, so nothing has ever held it against
// the real thing.
package simpool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"beadm/activate/boot/bootenv"
	"beadm/be"
)

// Machine is on until PowerOn starts it again.
type Machine struct {
	BERoot string // POOL/ROOT
	Key    string // of the token, as its loader knows it

	// Label is the boot environment area; nil: it holds no list yet.
	Label map[string]string
	// Stuck is a label that the loader cannot write, and does not say so.
	Stuck bool
	// BIOS: the token is taken by the stage before the loader.
	BIOS bool
	// Props are the local user properties of datasets, POOL/ROOT and below.
	Props  map[string]map[string]string
	Bootfs string

	Root string            // what runs
	Env  map[string]string // of the kernel: kenv(1), or devprop(8)'s properties
	// Answers are those of further programs, by their command line.
	Answers map[string]Answer

	Calls []string
}

// Answer is a program's end.
type Answer struct {
	Out    string
	Status int
	Words  string // to standard error
}

// New is a machine that runs POOL/ROOT/old, which nobody has set up.
func New(key string) *Machine {
	m := &Machine{BERoot: "tank/ROOT", Key: key, Props: map[string]map[string]string{"tank/ROOT": {}},
		Env: map[string]string{}, Answers: map[string]Answer{}}
	m.Bootfs, m.Root = "tank/ROOT/old", "tank/ROOT/old"
	m.Props["tank/ROOT/old"] = map[string]string{}
	return m
}

// Clone makes a dataset with the UUID that id is of.
func (m *Machine) Clone(name, id string) string {
	hex := strings.TrimPrefix(id, "b")
	ds := m.BERoot + "/" + name
	if m.Props[ds] == nil {
		m.Props[ds] = map[string]string{"org.beadm:uuid": fmt.Sprintf("%s-%s-4000-8000-000000000000", hex[:8], hex[8:12])}
	}
	return ds
}

// ID is the one of a dataset.
func (m *Machine) ID(ds string) string { return be.UUID(m.Props[ds]["org.beadm:uuid"]).ID() }

// PowerOn does what the loader does with the token, and returns the dataset
// that is booted and whether its token was taken for that.
func (m *Machine) PowerOn() (root string, once bool) {
	m.Env = map[string]string{"init_script": m.Env["init_script"]}
	if used := m.Label[m.Key+"-used"]; used != "" { // a loader that died before it read this
		m.Env["zfs-bootonce"] = used
		delete(m.Label, m.Key+"-used")
	}
	m.Root = m.Bootfs
	if token := m.Label[m.Key]; token != "" {
		m.Env["zfs-bootonce"] = token
		if !m.Stuck {
			delete(m.Label, m.Key)
		}
		if ds := bootenv.Dataset(token); m.Props[ds] != nil {
			m.Root, once = ds, true
		}
	}
	return m.Root, once
}

// DieInLoader is PowerOn of a machine that is reset between the stage that
// takes the token and the loader, with BIOS.
func (m *Machine) DieInLoader() {
	if token := m.Label[m.Key]; token != "" {
		delete(m.Label, m.Key)
		m.Label[m.Key+"-used"] = token
	}
}

var props = []string{"org.beadm:uuid", "org.beadm:entry", "org.beadm:loader", "org.beadm:trial"}

// Run answers one command.
func (m *Machine) Run(_ context.Context, argv ...string) (string, error) {
	line := strings.Join(argv, " ")
	m.Calls = append(m.Calls, line)
	a, known := m.Answers[line]
	if !known {
		a = m.answer(argv, line)
	}
	if a.Status != 0 {
		words := a.Words
		if words == "" {
			words = a.Out
		}
		return "", &bootenv.ToolError{Argv: argv, Status: a.Status, Words: words}
	}
	return a.Out, nil
}

func (m *Machine) answer(argv []string, line string) Answer {
	pool, _, _ := strings.Cut(m.BERoot, "/")
	label := "zfsbootcfg"
	if strings.HasPrefix(m.Key, "illumos") {
		label = "eeprom -b"
	}
	rest, isLabel := strings.CutPrefix(line, label+" -z "+pool+" ")
	switch {
	case isLabel && rest == "-p":
		return Answer{Out: m.printLabel()}
	case isLabel && !strings.HasPrefix(rest, "-"):
		return m.setBootDevice(argv[len(argv)-1])
	case line == "zfs get -Hp -d 1 -t filesystem -o name,property,source,value "+strings.Join(props, ",")+" "+m.BERoot:
		return Answer{Out: m.get()}
	case strings.HasPrefix(line, "zfs set ") && len(argv) == 4:
		name, value, _ := strings.Cut(argv[2], "=")
		if m.Props[argv[3]] == nil {
			return noDataset(argv[3])
		}
		m.Props[argv[3]][name] = value
		return Answer{}
	case strings.HasPrefix(line, "zfs inherit ") && len(argv) == 4:
		if m.Props[argv[3]] == nil {
			return noDataset(argv[3])
		}
		delete(m.Props[argv[3]], argv[2])
		return Answer{}
	case line == "zpool get -Hp -o value bootfs "+pool:
		if m.Bootfs == "" {
			return Answer{Out: "-\n"}
		}
		return Answer{Out: m.Bootfs + "\n"}
	case strings.HasPrefix(line, "zpool set bootfs=") && argv[3] == pool:
		m.Bootfs = strings.TrimPrefix(argv[2], "bootfs=")
		return Answer{}
	case strings.HasPrefix(line, "kenv -q ") && len(argv) == 3, strings.HasPrefix(line, "devprop -s ") && len(argv) == 3:
		if v := m.Env[argv[2]]; v != "" {
			return Answer{Out: v + "\n"}
		}
		return Answer{Status: 1}
	case line == "sysctl -n machdep.bootmethod" && m.BIOS:
		return Answer{Out: "BIOS\n"}
	case line == "sysctl -n machdep.bootmethod":
		return Answer{Out: "UEFI\n"}
	}
	return Answer{Status: 127, Words: "simpool knows no answer to " + line}
}

func noDataset(ds string) Answer {
	return Answer{Status: 1, Words: fmt.Sprintf("cannot open '%s': dataset does not exist", ds)}
}

// setBootDevice is lzbe_set_boot_device(POOL, lzbe_add, value) of
// libzfsbootenv (lib/libzfsbootenv/lzbe_device.c, openzfs/zfs at 02e5215).
func (m *Machine) setBootDevice(value string) Answer {
	if m.Label == nil {
		m.Label = map[string]string{}
	}
	switch {
	case value == "":
		delete(m.Label, m.Key)
	case strings.HasPrefix(value, "zfs:"):
		m.Label[m.Key] = value
	default:
		m.Label[m.Key] = "zfs:" + value + ":"
	}
	return Answer{Out: "zfs bootenv is successfully written\n"}
}

// printLabel is nvlist_print (libnvpair.c of OpenZFS and illumos).
func (m *Machine) printLabel() string {
	if m.Label == nil {
		return "nvlist version: 0\n\tversion = 0x0\n\tgrub:envmap = \n"
	}
	out := "nvlist version: 0\n\tversion = 0x1\n"
	for _, key := range slices.Sorted(maps.Keys(m.Label)) {
		out += "\t" + key + " = " + m.Label[key] + "\n"
	}
	return out
}

// get is what zfs get prints: what a dataset has not, it has from above.
func (m *Machine) get() string {
	out := ""
	for _, ds := range slices.Sorted(maps.Keys(m.Props)) {
		for _, p := range props {
			value, source := m.Props[ds][p], "local"
			if above := m.Props[m.BERoot][p]; value == "" && above != "" {
				value, source = above, "inherited from "+m.BERoot
			}
			if value == "" {
				value, source = "-", "-"
			}
			out += ds + "\t" + p + "\t" + source + "\t" + value + "\n"
		}
	}
	return out
}
