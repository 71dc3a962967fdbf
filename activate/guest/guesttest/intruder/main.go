//go:build linux

// Command intruder is a program of a hostile guest, run as root in a root of its:
// it tries to come to the host by every way that it knows, and says of each that
// it found open how. What is closed it does not speak of; its last line is "tried
// all". It harms nothing that it reaches.
//
//	intruder DEVICE PROCESS SOCKET FILE
//
// DEVICE is MAJOR:MINOR of a disk of the host's, PROCESS the argument of a sleep
// there, SOCKET the name of an abstract socket that one listens on, FILE the path
// of a file that only the host has.
package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Println("it takes four arguments")
		os.Exit(2)
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(os.Args[1], "%d:%d", &major, &minor); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	disks(major, minor)
	memory()
	settings()
	handles()
	processes(os.Args[2])
	descriptors()
	sockets(os.Args[3])
	kernel()
	// These may change what it sees.
	mounts()
	upwards(os.Args[4])
	fmt.Println("tried all")
}

func open(way string, args ...any) { fmt.Printf("open: "+way+"\n", args...) }

// disks makes nodes of the host's disk wherever it can, and takes those there
// are.
func disks(major, minor uint32) {
	for _, dir := range []string{"/", "/tmp", "/run", "/dev", "/dev/shm", "/var/share", "/var/tmp", "/root"} {
		at := filepath.Join(dir, ".disk")
		_ = os.Remove(at)
		if unix.Mknod(at, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))) == nil {
			// The node itself is one: it would stay in the root.
			open("a node of a disk can be made in %s", dir)
			if readable(at) {
				open("the disk can be read in %s", dir)
			}
			_ = os.Remove(at)
		}
	}
	_ = filepath.WalkDir("/dev", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeDevice != 0 && d.Type()&os.ModeCharDevice == 0 && readable(path) {
			open("the disk %s can be read", path)
		}
		return nil
	})
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 512))
	return err == nil && n > 0
}

func memory() {
	for name, number := range map[string]int{"mem": 1, "port": 4, "kmsg": 11} {
		at := "/tmp/." + name
		_ = os.Remove(at)
		if unix.Mknod(at, unix.S_IFCHR|0o600, int(unix.Mkdev(1, uint32(number)))) == nil {
			if f, err := os.OpenFile(at, os.O_RDWR, 0); err == nil {
				open("a node of %s can be made", name)
				f.Close()
			}
			_ = os.Remove(at)
		}
	}
	for _, path := range []string{"/proc/kcore", "/dev/mem", "/proc/kmsg"} {
		// Not by os: where it is hidden, nothing ever comes out of it.
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
			if n, _ := unix.Read(fd, make([]byte, 4096)); n > 0 {
				open("%s can be read", path)
			}
			unix.Close(fd)
		}
	}
}

// settings are files of the kernel's that are the whole host's.
func settings() {
	for _, path := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches", "/proc/sys/fs/file-max",
		"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/core/somaxconn", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
		"/proc/mtrr", "/proc/acpi/wakeup", "/proc/scsi/scsi", "/proc/latency_stats", "/proc/timer_stats", "/proc/fs/xfs/xqm", "/proc/sys/fs/binfmt_misc/register",
		"/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/module/kernel/parameters/panic", "/sys/fs/cgroup/release_agent",
		"/sys/kernel/security/apparmor/.load",
	} {
		// The null device stands for what is hidden.
		if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			if info, err := f.Stat(); err == nil && info.Mode()&os.ModeDevice == 0 {
				open("%s can be written", path)
			}
			f.Close()
		}
	}
	if f, err := os.OpenFile("/etc/resolv.conf", os.O_WRONLY, 0); err == nil {
		var here, there unix.Stat_t
		if unix.Stat("/etc", &here) == nil && unix.Fstat(int(f.Fd()), &there) == nil && here.Dev != there.Dev {
			open("the host's resolv.conf can be written")
		}
		f.Close()
	}
	_ = filepath.WalkDir("/sys", func(path string, d os.DirEntry, err error) error {
		if err != nil || strings.Count(path, "/") > 4 || strings.HasPrefix(path, "/sys/fs/cgroup") {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
				open("%s can be written", path)
				f.Close()
			}
		}
		return nil
	})
}

// handles opens the top of the file system, and other trees in it, by number.
func handles() {
	root, err := os.Open("/")
	if err != nil {
		return
	}
	defer root.Close()
	h, _, err := unix.NameToHandleAt(int(root.Fd()), "etc", 0)
	if err != nil {
		return
	}
	fd, err := unix.OpenByHandleAt(int(root.Fd()), h, unix.O_RDONLY)
	if err == nil {
		open("files can be opened by their numbers")
		unix.Close(fd)
	}
	// btrfs: number of the file, of the tree, and the generation, 0 for any.
	raw := make([]byte, 20)
	binary.LittleEndian.PutUint64(raw, 256)
	binary.LittleEndian.PutUint64(raw[8:], 5)
	if fd, err = unix.OpenByHandleAt(int(root.Fd()), unix.NewFileHandle(h.Type(), raw), unix.O_RDONLY); err == nil {
		open("the top of the file system can be opened by its number")
		unix.Close(fd)
	}
	// BTRFS_IOC_TREE_SEARCH of the tree of trees.
	var search [4096]byte
	binary.LittleEndian.PutUint64(search[:], 1)
	for _, at := range []int{24, 40, 56} {
		binary.LittleEndian.PutUint64(search[at:], ^uint64(0))
	}
	binary.LittleEndian.PutUint32(search[64:], ^uint32(0))
	binary.LittleEndian.PutUint32(search[72:], 1)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, root.Fd(), 0xd0009411, uintptr(unsafe.Pointer(&search[0]))); errno == 0 {
		open("the trees of the btrfs can be searched")
	}
}

func mounts() {
	at := "/tmp/.mounted"
	_ = os.MkdirAll(at, 0o755)
	_ = os.MkdirAll("/tmp/.other", 0o755)
	for _, kind := range []string{"tmpfs", "proc", "sysfs", "devtmpfs", "debugfs", "tracefs", "securityfs", "cgroup2", "cgroup", "mqueue", "bpf", "configfs", "efivarfs", "binfmt_misc"} {
		if unix.Mount(kind, at, kind, 0, "") == nil {
			open("%s can be mounted", kind)
			_ = unix.Unmount(at, unix.MNT_DETACH)
		}
	}
	if unix.Mount("/", at, "", unix.MS_BIND|unix.MS_REC, "") == nil {
		open("directories can be mounted")
		_ = unix.Unmount(at, unix.MNT_DETACH)
	}
	if unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") == nil {
		open("/proc/sys can be mounted writable")
	}
	if unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") == nil {
		open("/sys can be mounted writable")
	}
	for _, path := range []string{"/var/share", "/proc/sys", "/proc/sysrq-trigger", "/etc/resolv.conf"} {
		if unix.Unmount(path, unix.MNT_DETACH) == nil {
			open("what is mounted on %s can be taken away", path)
		}
	}
	if fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE); err == nil {
		open("mounts can be cloned")
		unix.Close(fd)
	}
	if fd, err := unix.Fsopen("tmpfs", 0); err == nil {
		open("file systems can be opened")
		unix.Close(fd)
	}
	if unix.Setns(1, 0) == nil {
		open("another name space can be entered")
	}
}

// upwards leaves a chroot in the old way, and by what process 1 has.
func upwards(file string) {
	seen := func(way string) {
		if _, err := os.Stat(file); err == nil {
			open("the host's files are there, %s", way)
		}
	}
	seen("as they are")
	for _, root := range []string{"/proc/1/root", "/proc/1/cwd", "/proc/self/root/../..", "/proc/1/root/proc/1/root"} {
		if _, err := os.Stat(root + file); err == nil {
			open("the host's files are there by %s", root)
		}
	}
	up, err := os.Open("/")
	if err != nil {
		return
	}
	defer up.Close()
	_ = os.Mkdir("/tmp/.deep", 0o755)
	if unix.Chroot("/tmp/.deep") != nil {
		return
	}
	_ = up.Chdir()
	for range 64 {
		_ = os.Chdir("..")
	}
	_ = unix.Chroot(".")
	_ = os.Chdir("/")
	seen("above the root")
}

// processes looks for one of the host's, and at what process 1 is made of.
func processes(argument string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if pid := filepath.Base(dir); strings.HasSuffix(string(line), "sleep\x00"+argument+"\x00") {
			open("process %s is the host's", pid)
			if n, _ := strconv.Atoi(pid); unix.Kill(n, 0) == nil {
				open("process %s can be signalled", pid)
			}
		}
		var here, there unix.Stat_t
		f, err := os.Open(filepath.Join(dir, "exe"))
		if err != nil {
			continue
		}
		if unix.Stat("/", &here) == nil && unix.Fstat(int(f.Fd()), &there) == nil && here.Dev != there.Dev {
			name, _ := os.Readlink(filepath.Join(dir, "exe"))
			open("process %s is a program of the host's, %s", filepath.Base(dir), name)
		}
		f.Close()
	}
}

// descriptors looks at what it was handed, and at what its process 1 was.
func descriptors() {
	for _, who := range []string{"self", "1"} {
		list, _ := filepath.Glob("/proc/" + who + "/fd/*")
		for _, fd := range list {
			info, err := os.Stat(fd)
			if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
				continue
			}
			to, _ := os.Readlink(fd)
			if _, err := os.Lstat(to); !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "/proc/") || err == nil {
				continue // of its own root
			}
			open("a file of the host's is descriptor %s: %s", fd, to)
			if f, err := os.OpenFile(fd, os.O_WRONLY|os.O_APPEND, 0); err == nil {
				_, _ = f.WriteString("the intruder was here\n")
				f.Close()
			}
		}
	}
}

func sockets(name string) {
	if c, err := net.Dial("unix", "@"+name); err == nil {
		open("the host's abstract sockets can be reached")
		c.Close()
	}
	for _, path := range []string{"/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/notify", "/run/docker.sock", "/dev/log", "/run/systemd/journal/socket"} {
		if c, err := net.Dial("unix", path); err == nil {
			open("%s can be reached", path)
			c.Close()
		}
		if c, err := net.Dial("unixgram", path); err == nil {
			open("%s can be reached", path)
			c.Close()
		}
	}
	for kind, how := range map[string][3]int{
		"packets of the host's network": {unix.AF_PACKET, unix.SOCK_RAW, 0x0300},
		"raw sockets":                   {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
	} {
		if fd, err := unix.Socket(how[0], how[1], how[2]); err == nil {
			open("%s", kind)
			unix.Close(fd)
		}
	}
	// The flags of lo, as they are.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req) != nil {
		return
	}
	if unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req) == nil {
		open("the host's network can be changed")
	}
}

// kernel asks for what changes the whole host, in words that change nothing.
func kernel() {
	if err := unix.FinitModule(-1, "", 0); err != unix.EPERM && err != unix.ENOSYS {
		open("modules can be loaded: %v", err)
	}
	if err := unix.InitModule([]byte("x"), ""); err != unix.EPERM && err != unix.ENOSYS {
		open("modules can be loaded: %v", err)
	}
	if err := unix.DeleteModule("beadm-no-such-module", unix.O_NONBLOCK); err != unix.EPERM && err != unix.ENOSYS {
		open("modules can be removed: %v", err)
	}
	if _, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0xffff, 0, 0); errno != unix.EPERM && errno != unix.ENOSYS {
		open("another kernel can be loaded: %v", errno)
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME, &now) == nil && unix.ClockSettime(unix.CLOCK_REALTIME, &now) == nil {
		open("the clock can be set")
	}
	if unix.Acct("/tmp/.none") != unix.EPERM {
		open("accounting can be switched")
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(&append([]byte("/none"), 0)[0])), 0, 0); errno != unix.EPERM && errno != unix.ENOSYS {
		open("swap can be changed: %v", errno)
	}
	attr := [48]byte{}
	binary.LittleEndian.PutUint32(attr[:], 2) // BPF_MAP_TYPE_ARRAY
	for at, n := range map[int]uint32{4: 4, 8: 4, 12: 1} {
		binary.LittleEndian.PutUint32(attr[at:], n)
	}
	if fd, _, errno := unix.Syscall(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr))); errno == 0 {
		open("BPF can be used")
		unix.Close(int(fd))
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -20); err == nil {
		open("it can go before all others")
	}
}
