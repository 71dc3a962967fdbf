//go:build linux

package vmtest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options of one power-on.
type Options struct {
	Memory   int               // MiB; 0: 1024
	Payload  map[string]string // path in the guest → file here; Install unpacks it
	ReadOnly bool              // the disk refuses writes
	FailSave int64             // GRUB cannot write this sector of 512 bytes, the system after it can; 0: none
	Watchdog bool              // the machine has a hardware watchdog; it has none otherwise
	Second   string            // file of a second disk: LoaderDisk
	StartsBy int               // 2: the firmware starts from the second disk
	Append   string            // not empty: no loader, this kernel command line with the image's kernel
}

// VM is one power-on of a disk, across the guest's own resets, until it powers
// off or the power is cut.
type VM struct {
	t       testing.TB
	disk    *Disk
	cmd     *exec.Cmd
	dir     string
	mu      sync.Mutex
	console bytes.Buffer // of all resets
	grown   chan struct{}
	ended   chan struct{}
	shell   net.Conn
	lines   chan byte
	Started time.Time
}

// Boot switches the machine on. The test's end switches it off.
func (d *Disk) Boot(opts Options) *VM {
	t := d.t
	t.Helper()
	dir, err := os.MkdirTemp("", "beadm-vm-")
	if err != nil {
		t.Fatal(err)
	}
	v := &VM{t: t, disk: d, dir: dir, grown: make(chan struct{}), ended: make(chan struct{}), Started: time.Now()}
	memory := opts.Memory
	if memory == 0 {
		memory = 1024
	}
	file := strings.ReplaceAll(d.File, ",", ",,")
	drive := "file=" + file + ",if=virtio,format=raw,cache=writeback"
	if opts.ReadOnly {
		drive += ",readonly=on"
	}
	if opts.FailSave != 0 {
		drive = "if=virtio,cache=writeback,driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=" + file
		// GRUB's biosdisk tries once by LBA, then three times by cylinder.
		for i := range 4 {
			rule := fmt.Sprintf(",file.inject-error.%d.", i)
			drive += rule + "event=write_aio" + rule + fmt.Sprintf("sector=%d", opts.FailSave) + rule + "once=on" + rule + "errno=5"
		}
	}
	socket := filepath.Join(dir, "shell")
	args := []string{
		// One processor: a second gains nothing, and its clock made some boots hang.
		"-accel", "tcg,tb-size=128", "-cpu", "max", "-smp", "1", "-m", fmt.Sprint(memory),
		"-machine", "q35", "-nodefaults", "-nographic", "-device", "virtio-rng-pci",
		"-monitor", "unix:" + filepath.Join(dir, "monitor") + ",server=on,wait=off",
		"-serial", "stdio", "-chardev", "socket,id=shell,path=" + socket + ",server=on,wait=off", "-serial", "chardev:shell",
		"-drive", drive,
	}
	if d.vars != "" {
		args = append(args, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmfCode,
			"-drive", "if=pflash,format=raw,unit=1,file="+d.vars)
	}
	if opts.Watchdog {
		table := filepath.Join(dir, "wdat")
		watchdogTable(t, table)
		args = append(args, "-acpitable", "file="+table, "-global", "ICH9-LPC.noreboot=false", "-action", "watchdog=reset")
	}
	if opts.Append != "" {
		args = append(args, "-kernel", filepath.Join(d.image.Dir, "vmlinuz"), "-initrd", filepath.Join(d.image.Dir, "initrd"), "-append", opts.Append)
	}
	if len(opts.Payload) > 0 {
		tar := filepath.Join(dir, "payload.tar")
		if err := writePayload(tar, opts.Payload); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-drive", "file="+tar+",if=virtio,format=raw,readonly=on")
	}
	if opts.Second != "" {
		device := "virtio-blk-pci,drive=second,addr=0x1e" // behind the first: that is vda
		if opts.StartsBy == 2 {
			device += ",bootindex=0"
		}
		args = append(args, "-drive", "file="+strings.ReplaceAll(opts.Second, ",", ",,")+",if=none,id=second,format=raw,cache=writeback", "-device", device)
	}
	v.cmd = exec.Command("qemu-system-x86_64", args...)
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.cmd.Stderr = v.cmd.Stdout
	if err := v.cmd.Start(); err != nil {
		t.Fatalf("cannot start QEMU: %v (Debian package qemu-system-x86)", err)
	}
	go v.read(out)
	t.Cleanup(func() {
		v.Cut()
		if t.Failed() {
			t.Logf("the console's last lines:\n%s", lastLines(v.Console(), 60))
		}
		os.RemoveAll(dir)
	})
	for i := 0; ; i++ {
		if v.shell, err = net.Dial("unix", socket); err == nil {
			break
		}
		if i == 100 {
			t.Fatalf("cannot reach the machine's second serial port: %v\n%s", err, v.Console())
		}
		time.Sleep(50 * time.Millisecond)
	}
	v.lines = make(chan byte, 1<<20)
	go func() {
		defer close(v.lines)
		buf := make([]byte, 4096)
		for {
			n, err := v.shell.Read(buf)
			for _, b := range buf[:n] {
				v.lines <- b
			}
			if err != nil {
				return
			}
		}
	}()
	return v
}

func (v *VM) read(out io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		v.mu.Lock()
		v.console.Write(buf[:n])
		close(v.grown)
		v.grown = make(chan struct{})
		v.mu.Unlock()
		if err != nil {
			break
		}
	}
	v.cmd.Wait()
	close(v.ended)
}

// Console is all that the kernel and the loader said since power-on.
func (v *VM) Console() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.console.String()
}

// Cut cuts the power. What the guest wrote to its disk stays, what it still
// held in memory is lost. A machine that is off stays off.
func (v *VM) Cut() {
	v.cmd.Process.Kill()
	<-v.ended
	if v.shell != nil {
		v.shell.Close()
	}
}

// Mark is the present end of the console, for WaitFor.
func (v *VM) Mark() int { return len(v.Console()) }

// WaitFor waits until the console, from mark on, matches; it returns the mark
// behind the match. It ends the test when limit passes or the machine ends.
func (v *VM) WaitFor(mark int, pattern string, limit time.Duration) int {
	v.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(limit)
	for {
		v.mu.Lock()
		text, grown := v.console.String(), v.grown
		v.mu.Unlock()
		if at := re.FindStringIndex(text[mark:]); at != nil {
			return mark + at[1]
		}
		select {
		case <-grown:
		case <-v.ended:
			v.t.Fatalf("the machine ended while the test waited for %q; its last lines:\n%s", pattern, lastLines(v.Console(), 40))
		case <-deadline:
			v.t.Fatalf("nothing like %q on the console within %s; its last lines:\n%s", pattern, limit, lastLines(text, 40))
		}
	}
}

// CutAt cuts the power at the moment when the console matches.
func (v *VM) CutAt(mark int, pattern string, limit time.Duration) {
	v.t.Helper()
	v.WaitFor(mark, pattern, limit)
	v.Cut()
}

// WaitOff waits until the machine powered itself off.
func (v *VM) WaitOff(limit time.Duration) {
	v.t.Helper()
	select {
	case <-v.ended:
	case <-time.After(limit):
		v.t.Fatalf("the machine is still on after %s; its last lines:\n%s", limit, lastLines(v.Console(), 40))
	}
}

// WaitShell waits until the guest's shell answers, after power-on or a reset.
func (v *VM) WaitShell(limit time.Duration) {
	v.t.Helper()
	if said, ok := v.tryShell(limit); !ok {
		v.t.Fatalf("no shell within %s; its line said %q; the console's last lines:\n%s", limit, lastLines(said, 10), lastLines(v.Console(), 40))
	}
}

func (v *VM) tryShell(limit time.Duration) (said string, ok bool) {
	deadline := time.Now().Add(limit)
	for i := 0; time.Now().Before(deadline); i++ {
		word := fmt.Sprintf("%d-%d", i, time.Now().UnixNano())
		// Not as it stands here, so that an echo of the line is not the answer;
		// and nothing quoted: the first of these lines arrive torn, and a shell
		// would wait for the other quote.
		fmt.Fprintf(v.shell, "\necho ready$NOTHING-%s\n", word)
		got, ok := v.until("ready-"+word+"\n", 3*time.Second)
		if ok {
			v.drain(200 * time.Millisecond)
			return "", true
		}
		said += got
		select {
		case <-v.ended:
			return said, false
		default:
		}
	}
	return said, false
}

// Start is Boot of a disk on which nothing was tried yet, and WaitShell. A
// machine that does not come up is switched off and on again, once and said:
// that is the emulator's fault, not what is under test.
func (d *Disk) Start(opts Options) *VM {
	d.t.Helper()
	v := d.Boot(opts)
	if d.sdBoot && opts.Append == "" {
		v.WaitFor(0, d.Firmware(), 2*time.Minute)
	}
	if _, ok := v.tryShell(2 * time.Minute); ok {
		return v
	}
	d.t.Logf("the emulated machine did not come up and is switched on again; its last lines:\n%s\nits processor:\n%s", lastLines(v.Console(), 20), v.processor())
	v.Cut()
	v = d.Boot(opts)
	v.WaitShell(4 * time.Minute)
	return v
}

// HoldDisk lets the disk answer nothing any more until FreeDisk.
func (v *VM) HoldDisk() { v.throttle(1) }

// SlowDisk lets the disk move so many bytes a second until FreeDisk.
func (v *VM) SlowDisk(bytes int) { v.throttle(bytes) }

// FreeDisk ends HoldDisk and SlowDisk.
func (v *VM) FreeDisk() { v.throttle(0) }

// throttle sets how many bytes a second the disk moves; 0 is no limit.
func (v *VM) throttle(bytes int) {
	v.t.Helper()
	m, err := net.Dial("unix", filepath.Join(v.dir, "monitor"))
	if err != nil {
		v.t.Fatalf("cannot reach the machine's monitor: %v", err)
	}
	defer m.Close()
	fmt.Fprintf(m, "block_set_io_throttle virtio0 %d 0 0 0 0 0\ninfo block\n", bytes)
	m.SetReadDeadline(time.Now().Add(2 * time.Second))
	said, _ := io.ReadAll(m)
	if strings.Contains(string(said), "Error") || !strings.Contains(string(said), "virtio0") {
		v.t.Fatalf("the machine's monitor said: %s", said)
	}
}

// processor is what QEMU says of the guest's processor, twice, for a machine
// that does not answer: does it wait or run, and where?
func (v *VM) processor() string {
	m, err := net.Dial("unix", filepath.Join(v.dir, "monitor"))
	if err != nil {
		return err.Error()
	}
	defer m.Close()
	for range 2 {
		fmt.Fprint(m, "info registers\n")
		time.Sleep(500 * time.Millisecond)
	}
	m.SetReadDeadline(time.Now().Add(time.Second))
	said, _ := io.ReadAll(m)
	var lines []string
	for line := range strings.Lines(string(said)) {
		if strings.HasPrefix(line, "RIP=") || strings.HasPrefix(line, "RAX=") || strings.HasPrefix(line, "EIP=") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

// until reads from the shell's line up to and with the text.
func (v *VM) until(text string, limit time.Duration) (string, bool) {
	deadline := time.After(limit)
	var got []byte
	for {
		select {
		case b, ok := <-v.lines:
			if !ok {
				return string(got), false
			}
			if b == '\r' {
				continue
			}
			got = append(got, b)
			if b == text[len(text)-1] && bytes.HasSuffix(got, []byte(text)) {
				return string(got), true
			}
		case <-deadline:
			return string(got), false
		}
	}
}

func (v *VM) drain(quiet time.Duration) {
	for {
		select {
		case <-v.lines:
		case <-time.After(quiet):
			return
		}
	}
}

// Run runs a command in the guest's shell and returns both its streams as one
// text and its exit code. It has no input.
func (v *VM) Run(limit time.Duration, command string) (out string, code int) {
	v.t.Helper()
	token := fmt.Sprintf("%x", time.Now().UnixNano())
	fmt.Fprintf(v.shell, "printf 'begin-%%s\\n' %s; { %s\n} </dev/null 2>&1; printf '\\nend-%%s %%d\\n' %s $?\n", token, command, token)
	if got, ok := v.until("begin-"+token+"\n", limit); !ok {
		v.t.Fatalf("the guest's shell does not answer; it said %q; the console's last lines:\n%s", got, lastLines(v.Console(), 40))
	}
	out, ok := v.until("\nend-"+token+" ", limit)
	if !ok {
		v.t.Fatalf("%q did not end within %s; it said:\n%s\nthe console's last lines:\n%s", command, limit, lastLines(out, 40), lastLines(v.Console(), 40))
	}
	out = strings.TrimSuffix(out, "\nend-"+token+" ")
	status, _ := v.until("\n", 10*time.Second)
	fmt.Sscan(status, &code)
	return out, code
}

// Must runs a command that has to succeed and returns what it said.
func (v *VM) Must(limit time.Duration, command string) string {
	v.t.Helper()
	out, code := v.Run(limit, command)
	if code != 0 {
		v.t.Fatalf("%s\nended with %d and said:\n%s", command, code, out)
	}
	return strings.TrimSpace(out)
}

// Install unpacks the payload over the guest's root.
func (v *VM) Install() {
	v.t.Helper()
	v.Must(2*time.Minute, "tar -xf /dev/vdb -C / && sync")
}

// Send types a command without waiting for its end: for one that reboots.
func (v *VM) Send(command string) { fmt.Fprintf(v.shell, "%s\n", command) }

func writePayload(file string, files map[string]string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for to, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(to, "/"), Mode: int64(info.Mode().Perm()), Size: int64(len(data)), ModTime: time.Now()}); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	// A virtio disk has whole sectors, and tar reads in blocks of 10 KiB.
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return f.Truncate((info.Size() + 10239) / 10240 * 10240)
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
