package boot

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"beadm/be"
)

// bzImage is a constructed kernel of a release: a header, a payload, and the
// checksum that the kernel's build appends.
func bzImage(release string) []byte {
	b := make([]byte, 512*2+16*4096)
	copy(b, "MZ")
	b[0x1f1] = 1
	binary.LittleEndian.PutUint32(b[0x1f4:], 4096)
	binary.LittleEndian.PutUint16(b[0x1fe:], 0xaa55)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x180)
	copy(b[0x380:], release+" (builder)\x00")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(b[0x40+24:], 0x20b)
	for i := 1024; i < len(b)-4; i++ {
		b[i] = byte(i * 7)
	}
	binary.LittleEndian.PutUint32(b[len(b)-4:], ^crc32.ChecksumIEEE(b[:len(b)-4]))
	return b
}

// signed as sbsign(1) does it: fields of the header, and the signature behind.
func signed(b []byte) []byte {
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint32(b[0x40+24+64:], 0xd8d44c)
	binary.LittleEndian.PutUint32(b[0x40+24+112+32:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[0x40+24+112+36:], 1472)
	return append(b, make([]byte, 1472)...)
}

func TestWholeKernel(t *testing.T) {
	good := bzImage("6.1.0-1")
	with := func(b []byte, at int, v byte) []byte { b = bytes.Clone(b); b[at] ^= v; return b }
	for _, c := range []struct {
		name, err string
		kernel    []byte
	}{
		{"whole", "", good},
		{"signed", "", signed(good)},
		{"without a checksum, since 6.15", "", with(bzImage("6.15.1-1"), 5000, 1)},
		{"a bit", "checksum is wrong", with(good, 5000, 1)},
		{"a bit of a signed one", "checksum is wrong", with(signed(good), 5000, 1)},
		{"cut short", "has 60000 bytes and should have 66560", good[:60000]},
		{"cut short, since 6.15", "should have 66560", bzImage("6.15.1-1")[:60000]},
		{"another file", "does not begin as a kernel", []byte("content")},
		{"zeros", "does not begin as a kernel", make([]byte, 70000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "vmlinuz")
			if err := os.WriteFile(file, c.kernel, 0o644); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			said(t, wholeBzImage(f), c.err)
		})
	}
}

func said(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// cpio of one file, as cpio(1) makes it.
func cpio(t *testing.T) []byte {
	t.Helper()
	if _, err := exec.LookPath("cpio"); err != nil {
		return newc("file", strings.Repeat("content\n", 9000))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(strings.Repeat("content\n", 9000)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "echo file | cpio -o -H newc --quiet")
	cmd.Dir = dir
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newc is an archive of one file, constructed as cpio(5) has it.
func newc(name, data string) []byte {
	one := func(name, data string) string {
		h := "070701" + strings.Repeat("00000000", 6) + hex8(len(data)) + strings.Repeat("00000000", 4) + hex8(len(name)+1) + "00000000" + name + "\x00"
		for len(h)%4 != 0 {
			h += "\x00"
		}
		for h += data; len(h)%4 != 0; {
			h += "\x00"
		}
		return h
	}
	b := []byte(one(name, data) + one("TRAILER!!!", ""))
	return append(b, make([]byte, 512-len(b)%512)...)
}

func hex8(n int) string { return strings.ToUpper(string(appendHex(nil, n))) }

func appendHex(b []byte, n int) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return b
}

// packedBy each packer that is here, as for an initrd.
func packedBy(t *testing.T, plain []byte) map[string][]byte {
	t.Helper()
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(plain)
	w.Close()
	packed := map[string][]byte{"gzip": gz.Bytes()}
	for name, command := range map[string]string{
		"bzip2": "bzip2 -c", "xz": "xz -c --check=crc32", "lzma": "xz -c --format=lzma", "zstd": "zstd -cq", "lz4": "lz4 -clq", "lzop": "lzop -c",
	} {
		args := strings.Fields(command)
		if _, err := exec.LookPath(args[0]); err != nil {
			t.Fatalf("%s is missing: install the package that has it (testdata/install-tools.sh)", args[0])
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = bytes.NewReader(plain)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		packed[name] = out
	}
	return packed
}

// checkInitrd says what CheckWhole says of an initrd beside a whole kernel.
func checkInitrd(t *testing.T, initrd []byte, want string) {
	t.Helper()
	dir := grow(t, "vmlinuz", "initrd")
	if err := os.WriteFile(filepath.Join(dir, "initrd"), initrd, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vmlinuz"), bzImage("6.1"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := CheckWhole(context.Background(), dir, "/vmlinuz", "/initrd")
	said(t, err, want)
	if err != nil && be.KindOf(err) != be.Unbootable {
		t.Errorf("%v is no refusal", err)
	}
}

func TestWholeInitrd(t *testing.T) {
	plain := cpio(t)
	packed := packedBy(t, plain)
	check := func(name string, data []byte, want string) {
		t.Run(name, func(t *testing.T) { checkInitrd(t, data, want) })
	}
	for name, data := range packed {
		check(name, data, "")
		check(name+" behind microcode", append(bytes.Clone(plain), data...), "")
		check(name+" cut short", data[:len(data)*2/3], "initrd /initrd is damaged")
		spoiled := bytes.Clone(data)
		for i := range 16 {
			spoiled[len(data)/2+i] ^= 0x55
		}
		if name != "lz4" { // the kernel's own format of it has no checksum
			check(name+" spoiled", spoiled, "initrd /initrd is damaged")
		}
	}
	check("gzip and zeros", append(bytes.Clone(packed["gzip"]), make([]byte, 100)...), "")
	check("two of gzip", append(bytes.Clone(packed["gzip"]), packed["gzip"]...), "")
	check("plain", plain, "")
	check("plain cut short", plain[:9000], "cut short")
	check("another file", []byte("content of another file"), "begins as no archive")
	check("zeros", make([]byte, 9000), "holds nothing")
	var text bytes.Buffer
	w := gzip.NewWriter(&text)
	w.Write([]byte("no archive"))
	w.Close()
	check("another file packed", text.Bytes(), "no archive is packed in it")
}

// padded as the parts of an initrd are, to four bytes.
func padded(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
		b = append(b, make([]byte, (4-len(b)%4)%4)...)
	}
	return b
}

// The kernel takes all of these (Linux, init/initramfs.c, unpack_to_rootfs).
func TestWholeInitrdGoesOn(t *testing.T) {
	plain := cpio(t)
	packed := packedBy(t, plain)
	spoiled := func(b []byte) []byte {
		b = bytes.Clone(b)
		for i := range 16 {
			b[len(b)/2+i] ^= 0x55
		}
		return b
	}
	// noisy is large, and packs as several blocks.
	noise := make([]byte, 1<<20)
	rand.New(rand.NewSource(1)).Read(noise)
	noisy := packedBy(t, newc("noise", string(noise)))
	const damaged = "initrd /initrd is damaged"
	for name, data := range packed {
		// Where the packer alone knows the end, what is behind is not seen.
		seen := damaged
		if name == "xz" || name == "lzma" || name == "lzop" {
			seen = ""
		}
		short := noisy[name][:len(noisy[name])-len(noisy[name])/4]
		for _, c := range []struct {
			name, err string
			initrd    []byte
		}{
			{"1 zero", "", append(bytes.Clone(data), 0)},
			{"2 zeros", "", append(bytes.Clone(data), make([]byte, 2)...)},
			{"3 zeros", "", append(bytes.Clone(data), make([]byte, 3)...)},
			{"4 zeros", "", append(bytes.Clone(data), make([]byte, 4)...)},
			{"9 zeros", "", append(bytes.Clone(data), make([]byte, 9)...)},
			{"512 zeros", "", append(bytes.Clone(data), make([]byte, 512)...)},
			{"a plain archive", "", padded(data, plain)},
			{"zeros and a plain archive", "", padded(data, make([]byte, 512), plain)},
			{"a plain archive not aligned", "", append(append(bytes.Clone(data), make([]byte, 5-len(data)%4)...), plain...)},
			{"microcode before, a key behind", "", padded(plain, data, plain, make([]byte, 8))},
			{"another of it", "", append(bytes.Clone(data), data...)},
			// Zeros end lz4: the beginning of gzip can be the length of a block.
			{"zeros and one of gzip", "", padded(data, make([]byte, 4), packed["gzip"])},
			{"something else", "", append(bytes.Clone(data), "a signature of somebody"...)},
			{"large and zeros", "", append(bytes.Clone(noisy[name]), make([]byte, 7)...)},
			{"large and a plain archive", "", padded(noisy[name], plain)},
			{"cut short and zeros", damaged, append(bytes.Clone(short), make([]byte, 512)...)},
			{"cut short and a plain archive", damaged, padded(plain, short, plain)},
			{"a plain archive that is cut short", seen, padded(data, plain)[:len(data)+9000]},
			{"one of gzip that is spoiled", seen, padded(data, make([]byte, 4), spoiled(packed["gzip"]))},
		} {
			t.Run(name+" and "+c.name, func(t *testing.T) { checkInitrd(t, c.initrd, c.err) })
		}
		if name != "lz4" && name != "lzma" { // neither has a checksum
			for what, behind := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 512), "a plain archive": plain} {
				t.Run(name+" spoiled and "+what, func(t *testing.T) { checkInitrd(t, padded(spoiled(noisy[name]), behind), damaged) })
			}
		}
		if name != "lz4" && name != "lzop" { // what ends these is no more than a few zeros, or nothing
			for n := 1; n <= 8; n++ {
				t.Run(fmt.Sprintf("%s but its last %d bytes", name, n), func(t *testing.T) { checkInitrd(t, noisy[name][:len(noisy[name])-n], damaged) })
			}
		}
	}
	for name, data := range packedBy(t, plain[:9000]) {
		t.Run(name+" of an archive without its trailer", func(t *testing.T) { checkInitrd(t, data, "cut short") })
	}
}

// What an initrd has of /etc/hostid is found in whatever it is packed.
func TestHostIDInInitrd(t *testing.T) {
	const id = "\xbe\xad\xbe\xad"
	file := func(name, data string) []byte {
		b := newc(name, data)
		copy(b[14:22], "000081a4") // a regular file, 0644
		return b
	}
	look := func(initrd []byte) Initrd {
		t.Helper()
		dir := grow(t, "vmlinuz", "initrd")
		for name, data := range map[string][]byte{"initrd": initrd, "vmlinuz": bzImage("6.1")} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		inside, err := CheckWhole(context.Background(), dir, "/vmlinuz", "/initrd")
		if err != nil {
			t.Fatal(err)
		}
		return inside
	}
	for name, packed := range packedBy(t, append(file("etc/hostid", id), cpio(t)...)) {
		if got := look(append(file("kernel/x86/microcode/AuthenticAMD.bin", "x"), packed...)); string(got.HostID) != id {
			t.Errorf("%s: %q", name, got.HostID)
		}
	}
	plain := file("./etc/hostid", id)
	if got := look(plain); string(got.HostID) != id || got.Unread {
		t.Errorf("%+v", got)
	}
	conf := append(file("lib/modprobe.d", "x"), file("./etc/modprobe.d/zfs.conf", "options spl spl_hostid=0xadbeadbe\n")...)
	if got := look(append(conf, plain...)); got.Modprobe.HostID() != 0xadbeadbe || len(got.Modprobe) != 1 || string(got.HostID) != id {
		t.Errorf("%+v", got)
	}
	// The last one is what the kernel leaves there; another file is none.
	if got := look(append(plain, file("etc/hostid", "last")...)); string(got.HostID) != "last" {
		t.Errorf("%+v", got)
	}
	if got := look(append(file("usr/etc/hostid", id), newc("etc/hostid", id)...)); got.HostID != nil || got.Unread {
		t.Errorf("%+v", got)
	}
	t.Setenv("PATH", t.TempDir())
	if got := look([]byte("\x28\xb5\x2f\xfd\x00\x00\x00\x00\x00\x00\x00\x00")); got.HostID != nil || !got.Unread {
		t.Errorf("%+v", got)
	}
}

// BenchmarkCheckWhole is what activate and rollback spend on an initrd of the
// size that MODULES=most makes, one pass a time.
func BenchmarkCheckWhole(b *testing.B) {
	text := make([]byte, 100<<20)
	random := rand.New(rand.NewSource(1))
	for i := range text {
		// As well packed as modules and programs are.
		text[i] = byte(random.Intn(8) * (i >> 3 & 7))
	}
	archive := newc("file", string(text))
	for _, packer := range []string{"gzip", "zstd", "xz"} {
		b.Run(packer, func(b *testing.B) {
			cmd := exec.Command(packer, "-1", "-c")
			cmd.Stdin = bytes.NewReader(archive)
			packed, err := cmd.Output()
			if err != nil {
				b.Skipf("NOT RUN: %v", err)
			}
			dir := b.TempDir()
			for name, data := range map[string][]byte{"vmlinuz": bzImage("6.1.0-1"), "initrd": packed} {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(packed)))
			for b.Loop() {
				if _, err := CheckWhole(b.Context(), dir, "/vmlinuz", "/initrd"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
