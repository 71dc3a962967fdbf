package boot

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"hash/crc32"
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
		// One constructed as cpio(5) has it.
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
		b := []byte(one("file", strings.Repeat("content\n", 9000)) + one("TRAILER!!!", ""))
		return append(b, make([]byte, 512-len(b)%512)...)
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

func hex8(n int) string { return strings.ToUpper(string(appendHex(nil, n))) }

func appendHex(b []byte, n int) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return b
}

func TestWholeInitrd(t *testing.T) {
	plain := cpio(t)
	pack := func(program string, args ...string) []byte {
		if _, err := exec.LookPath(program); err != nil {
			t.Run(program, func(t *testing.T) { t.Skip("NOT RUN: " + program + " is missing") })
			return nil
		}
		cmd := exec.Command(program, args...)
		cmd.Stdin = bytes.NewReader(plain)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(plain)
	w.Close()
	packed := map[string][]byte{
		"gzip": gz.Bytes(), "bzip2": pack("bzip2", "-c"), "xz": pack("xz", "-c", "--check=crc32"), "lzma": pack("xz", "-c", "--format=lzma"),
		"zstd": pack("zstd", "-cq"), "lz4": pack("lz4", "-clq"),
	}
	check := func(name string, data []byte, want string) {
		t.Run(name, func(t *testing.T) {
			dir := grow(t, "vmlinuz", "initrd")
			if err := os.WriteFile(filepath.Join(dir, "initrd"), data, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "vmlinuz"), bzImage("6.1"), 0o644); err != nil {
				t.Fatal(err)
			}
			err := CheckWhole(context.Background(), dir, "/vmlinuz", "/initrd")
			said(t, err, want)
			if err != nil && be.KindOf(err) != be.Unbootable {
				t.Errorf("%v is no refusal", err)
			}
		})
	}
	for name, data := range packed {
		if data == nil {
			continue
		}
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
	check("gzip and zeros", append(bytes.Clone(gz.Bytes()), make([]byte, 100)...), "")
	check("two of gzip", append(bytes.Clone(gz.Bytes()), gz.Bytes()...), "")
	check("plain", plain, "")
	check("plain cut short", plain[:9000], "cut short")
	check("another file", []byte("content of another file"), "begins as no archive")
	check("zeros", make([]byte, 9000), "holds nothing")
	var text bytes.Buffer
	w = gzip.NewWriter(&text)
	w.Write([]byte("no archive"))
	w.Close()
	check("another file packed", text.Bytes(), "no archive is packed in it")
}
