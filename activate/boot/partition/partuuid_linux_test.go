package partition

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"beadm/activate/boot/efivar"
)

// sgdisk and blkid are the owners of what is read here.
func TestGPTPartitionAgreesWithTheToolThatMadeIt(t *testing.T) {
	sgdisk, err := exec.LookPath("sgdisk")
	if err != nil {
		t.Fatalf("%v: install gdisk", err)
	}
	image := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	want := "12345678-9abc-def0-1234-56789abcdef0"
	if out, err := exec.Command(sgdisk, "-n1:0:+1M", "-n3:0:+1M", "-u3:"+want, image).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v: %s", err, out)
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := gptPartition(f, 512, 3); err != nil || got != (efivar.HardDrive{Number: 3, Start: 4096, Size: 2048, GUID: want}) {
		t.Errorf("partition 3 is %+v %v, want %q", got, err, want)
	}
	for _, bad := range []int{0, 129} {
		if got, err := gptPartition(f, 512, bad); err == nil {
			t.Errorf("partition %d is %+v", bad, got)
		}
	}
	if got, err := gptPartition(f, 4096, 3); err == nil {
		t.Errorf("with the wrong sectors it is %+v", got)
	}
}
