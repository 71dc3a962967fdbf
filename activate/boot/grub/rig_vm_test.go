package grub

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"beadm/activate/boot/loadertest"
)

// A virtual machine that runs GRUB alone, on the bytes this package writes:
// no kernel, one to three seconds. linux and initrd are functions in place of
// GRUB's commands; the first fails if its file is missing, the second says
// that all was loaded, and turns the machine off.
const (
	fatStart   = 2048 // sectors
	fatSectors = 14 * 2048
	fatUUID    = "BEAD-BEAD"

	embedded = `search --no-floppy --fs-uuid --set=root ` + fatUUID + `
set prefix=($root)/nothing
normal ($root)/start.cfg
`
	// startText stands for the file that a machine's GRUB reads first.
	startText = `serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
function linux {
	echo "KERNEL $*"
	[ -f "$1" ]
}
function initrd {
	if [ -f "$1" ]; then
		echo "LOADED $1"
		halt
	fi
	false
}
configfile ($root)/beadm/grub.cfg
echo FELLTHROUGH
halt
`
)

var vmTools = []string{"qemu-system-x86_64", "grub-mkimage", "mkfs.vfat", "mcopy"}

// needVM skips unless BEADM_VM=1, and then fails if a tool is missing.
func needVM(t *testing.T) {
	t.Helper()
	if os.Getenv("BEADM_VM") != "1" {
		t.Skip("NOT RUN: real GRUB in QEMU; make test-vm runs it (BEADM_VM=1; needs qemu-system-x86, grub-pc-bin, grub-common, mtools, dosfstools)")
	}
	for _, tool := range vmTools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: install qemu-system-x86 grub-pc-bin grub-common mtools dosfstools", err)
		}
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

var bootSectors = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "beadm-core")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cfg, core := filepath.Join(dir, "core.cfg"), filepath.Join(dir, "core.img")
	if err := os.WriteFile(cfg, []byte(embedded), 0o600); err != nil {
		return nil, err
	}
	out, err := exec.Command("grub-mkimage", "-O", "i386-pc", "-o", core, "-c", cfg, "-p", "(hd0,msdos1)/nothing",
		"biosdisk", "part_gpt", "part_msdos", "fat", "ext2", "normal", "configfile", "search", "search_fs_uuid",
		"search_label", "loadenv", "test", "true", "echo", "reboot", "halt", "serial", "terminal", "sleep", "regexp").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("grub-mkimage: %v\n%s", err, out)
	}
	body, err := os.ReadFile(core)
	if err != nil {
		return nil, err
	}
	mbr, err := os.ReadFile("/usr/lib/grub/i386-pc/boot.img")
	if err != nil {
		return nil, err
	}
	// As grub-install does it: core.img from sector 1; boot.img holds where
	// core starts (0x5c) and which drive (0x64); core's first sector where its
	// second is (0x1f4).
	binary.LittleEndian.PutUint64(mbr[0x5c:], 1)
	mbr[0x64] = 0xff
	binary.LittleEndian.PutUint64(body[0x1f4:], 2)
	clear(mbr[0x1b8:0x1fe]) // where boot.img has code for floppies, a disk has its partitions
	part := mbr[0x1be : 0x1be+16]
	copy(part, []byte{0x80, 0, 0, 0, 0x0e, 0, 0, 0})
	binary.LittleEndian.PutUint32(part[8:], fatStart)
	binary.LittleEndian.PutUint32(part[12:], fatSectors)
	mbr[510], mbr[511] = 0x55, 0xaa
	if len(body) > (fatStart-1)*512 {
		return nil, fmt.Errorf("core.img has %d bytes", len(body))
	}
	return append(mbr[:512], body...), nil
})

// machine is one disk.
type machine struct {
	img      string
	readOnly bool
	until    string // on the console: turn it off then
	keys     []keys
	second   *machine // a second disk
}

// build makes the disk from a directory that is the root of its FAT
// partition.
func build(t *testing.T, dir string) *machine {
	t.Helper()
	boot, err := bootSectors()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{img: filepath.Join(t.TempDir(), "disk.img")}
	f, err := os.Create(m.img)
	if err == nil {
		_, err = f.Write(boot)
	}
	if err == nil {
		err = f.Truncate((fatStart + fatSectors) * 512)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.vfat", "-i", strings.ReplaceAll(fatUUID, "-", ""), "-F", "16", "--offset", fmt.Sprint(fatStart), m.img, fmt.Sprint(fatSectors/2))
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		command(t, "mcopy", "-s", "-i", m.fat(), filepath.Join(dir, e.Name()), "::/")
	}
	m.start(t, startText)
	return m
}

// start sets what GRUB does before our configuration.
func (m *machine) start(t *testing.T, text string) {
	t.Helper()
	start := filepath.Join(t.TempDir(), "start.cfg")
	if err := os.WriteFile(start, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "mcopy", "-o", "-i", m.fat(), start, "::/start.cfg")
}

func (m *machine) fat() string { return fmt.Sprintf("%s@@%d", m.img, fatStart*512) }

// read returns a file of the partition as it is on the disk now.
func (m *machine) read(t *testing.T, path string) []byte {
	t.Helper()
	to := filepath.Join(t.TempDir(), "file")
	command(t, "mcopy", "-n", "-i", m.fat(), "::/"+path, to)
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	ansi   = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc")
	loaded = regexp.MustCompile(`LOADED \([^)]*\)/roots/(b[0-9a-f]{12})/initrd\.img`)
)

// console collects what is said, and calls seen once it holds until.
type console struct {
	mu    sync.Mutex
	text  bytes.Buffer
	until string
	seen  func()
	keys  []keys
	typed io.Writer
}

// keys are typed once the console says when.
type keys struct{ when, what string }

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(b)
	if c.until != "" && strings.Contains(c.text.String(), c.until) {
		c.seen()
	}
	if len(c.keys) > 0 && strings.Contains(c.text.String(), c.keys[0].when) {
		io.WriteString(c.typed, c.keys[0].what)
		c.keys = c.keys[1:]
	}
	return len(b), nil
}

// power turns the machine on and returns what it said until it turned itself
// off, or said m.until.
func (m *machine) power(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	drive := "file=" + filepath.Base(m.img) + ",if=virtio,format=raw,cache=writethrough"
	if m.readOnly {
		drive += ",readonly=on"
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,tb-size=64", "-m", "128", "-machine", "q35",
		"-nodefaults", "-nographic", "-serial", "stdio", "-monitor", "none", "-drive", drive)
	if m.second != nil {
		link := filepath.Join(filepath.Dir(m.img), "second.img")
		os.Remove(link)
		if err := os.Symlink(m.second.img, link); err != nil {
			t.Fatal(err)
		}
		cmd.Args = append(cmd.Args, "-drive", "file=second.img,if=virtio,format=raw,cache=writethrough")
	}
	cmd.Dir = filepath.Dir(m.img) // QEMU splits a path at commas
	out := &console{until: m.until, seen: cancel}
	cmd.Stdout, cmd.Stderr = out, out
	if out.keys = m.keys; len(m.keys) > 0 {
		typed, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out.typed = typed
	}
	err := cmd.Run()
	out.mu.Lock()
	defer out.mu.Unlock()
	text := ansi.ReplaceAllString(out.text.String(), "")
	if err != nil && (m.until == "" || !strings.Contains(text, m.until)) {
		t.Fatalf("QEMU: %v %v\n%s", err, ctx.Err(), text)
	}
	return text
}

// played is what the console says was booted.
func played(text string) loadertest.Played {
	match := loaded.FindStringSubmatch(text)
	if match == nil {
		return loadertest.Played{}
	}
	p := loadertest.Played{ID: match[1]}
	before, _, _ := strings.Cut(text, match[0])
	if i := strings.LastIndex(before, "KERNEL "); i >= 0 {
		p.Trial = strings.Contains(strings.ReplaceAll(strings.ReplaceAll(before[i:], "\r", ""), "\n", ""), "beadm.trial=1")
	}
	return p
}
