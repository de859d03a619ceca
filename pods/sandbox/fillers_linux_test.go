//go:build linux && (amd64 || arm64)

package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file fills what a pod may use by ways that no single limit of the kernel
// counts. The test binary runs inside a pod, as in attack_linux_test.go.

const (
	fillRole = "fill"
	scratch  = "scratch"
)

// fills are ways to fill a disk; each goes on until it cannot, or until it has taken
// fillMost bytes, or as many files as fit into them, which is far beyond every
// limit of the tests.
var fills = map[string]func() error{
	"blocks":   func() error { return fillFiles(fallocate) },
	"reserved": func() error { return fillFiles(reserve) },
	"pages":    func() error { return fillFiles(mapPages) },
	"unlinked": fillUnlinked,
	"mapped":   fillMapped,
	// Where no list of the process tells of it: its first thread has ended.
	"mapped, first thread ended": func() error {
		return withoutFirstThread(fillMapped)
	},
	"unlinked, first thread ended": func() error {
		return withoutFirstThread(fillUnlinked)
	},
	// Where the name is too long to be told.
	"deep": func() error {
		if err := descend(32); err != nil {
			return err
		}
		return fillUnlinked()
	},
	"mappings": fillMappings,
	"files": func() error {
		return fillMany(fillMost/4096, func(i int) error {
			f, err := os.Create(fmt.Sprintf("f%d", i))
			if err != nil {
				return err
			}
			return f.Close()
		})
	},
}

// trailed are fills of files with holes, at a pace. Each tells step by step what it
// has taken, so that it can be seen how soon it is stopped.
var trailed = map[string]func() error{
	"holes":        func() error { return fillHoles(writeAt, diskPlan/2, 64, 5*time.Millisecond) },
	"mapped holes": func() error { return fillHoles(mapAt(), diskPlan/2, 16, 5*time.Millisecond) },
	// Less than what is taken for writing.
	"slowly": func() error { return fillHoles(writeAt, diskPlan-1<<20, 16, 100*time.Millisecond) },
}

const (
	holeFile = 32 << 20 // the size of each file, most of which is holes
	holeEach = 64 << 10
	holePage = 4 << 10
)

// fillHoles fills files with holes, a page in each hole and then one more, so many
// pages at a time and then a pause. So much of the plan as quick is taken without one.
func fillHoles(write func(f *os.File, at int64) error, quick int64, atOnce int, pause time.Duration) error {
	var files []*os.File
	for i := range 8 {
		f, err := os.Create(fmt.Sprintf("f%d", i))
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
		if err := f.Truncate(holeFile); err != nil {
			return err
		}
	}
	// What was given back is not taken, however much was written.
	for range 3 {
		if _, err := files[0].WriteAt(make([]byte, holeFile), 0); err != nil {
			return err
		}
		if err := unix.Fallocate(int(files[0].Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, holeFile); err != nil {
			return err
		}
	}
	written := 0
	for page := int64(0); page < holeEach; page += holePage {
		for _, f := range files {
			for hole := int64(0); hole < holeFile; hole += holeEach {
				if err := write(f, hole+page); err != nil {
					return err
				}
				if written++; written%atOnce != 0 {
					continue
				}
				taken, err := allocated(files)
				if err != nil {
					return err
				}
				if taken < quick {
					continue
				}
				fmt.Println("taken", taken, time.Now().UnixMilli())
				time.Sleep(pause)
			}
		}
	}
	return nil
}

func allocated(files []*os.File) (sum int64, err error) {
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return 0, err
		}
		sum += st.Blocks * 512
	}
	return sum, nil
}

func writeAt(f *os.File, at int64) error {
	_, err := f.WriteAt([]byte{1}, at)
	return err
}

// mapAt returns a writer that does so without a call that writes.
func mapAt() func(f *os.File, at int64) error {
	mapped := map[*os.File][]byte{}
	return func(f *os.File, at int64) (err error) {
		if mapped[f] == nil {
			if mapped[f], err = unix.Mmap(int(f.Fd()), 0, holeFile, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
				return err
			}
		}
		mapped[f][at] = 1
		return nil
	}
}

// memoryFills are ways to take memory that is in no process, or not among its
// pages; each goes on until it cannot, or until it has taken memoryMost bytes.
var memoryFills = map[string]func() error{
	"memory files": func() error {
		return fillMemory(func() error {
			fd, err := unix.MemfdCreate("fill", 0)
			if err == nil {
				_, err = unix.Write(fd, make([]byte, fillStep))
			}
			return err
		})
	},
	"shared memory": func() error {
		return fillMemory(func() error {
			id, err := unix.SysvShmGet(unix.IPC_PRIVATE, fillStep, unix.IPC_CREAT|0o600)
			if err != nil {
				return err
			}
			b, err := unix.SysvShmAttach(id, 0, 0)
			if err != nil {
				return err
			}
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			return unix.SysvShmDetach(b)
		})
	},
	// Less than in the others, as it takes long: many times what may be.
	"netlink": func() error {
		return fillMany(8*netlinkMost/fillStep, func(int) error { return fillNetlink() })
	},
	"first thread ended": func() error {
		return withoutFirstThread(func() error { return fillMemory(takeMemory) })
	},
	"sockets": func() error {
		return fillMemory(func() error { return fillSocket(fillStep) })
	},
	"streams": func() error {
		return fillMemory(func() error { return fillStream(fillStep) })
	},
	"datagrams": func() error {
		return fillMemory(func() error { return fillDatagrams(fillStep) })
	},
	// Each step reads one byte of each 2 MiB, which costs a page of tables.
	"tables": func() error { return fillMemory(takeTables) },
}

// takeMemory takes fillStep.
func takeMemory() error {
	b, err := unix.Mmap(-1, 0, fillStep, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return err
}

// takeTables takes fillStep in tables of pages, and hardly any pages.
func takeTables() error {
	const pages = fillStep / 4096
	b, err := unix.Mmap(-1, 0, pages*2<<20, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE) // where there are none it is not needed
	for i := 0; i < len(b); i += 2 << 20 {
		fillSum += b[i]
	}
	return nil
}

const (
	endedRole  = "ended"
	endedSteps = 16
)

// takeAndWait tells when it has taken so many steps of memory and as many of tables, and
// waits for its end.
func takeAndWait() error {
	if err := fillMany(endedSteps, func(int) error { return errors.Join(takeMemory(), takeTables()) }); err != nil {
		return err
	}
	fmt.Println("taken")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// fillSocket leaves so much in pairs of sockets of which nobody reads.
func fillSocket(most int) error {
	for most > 0 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		for n := 0; err == nil; most -= n {
			n, err = unix.Write(pair[0], make([]byte, 64<<10))
			n = max(n, 0)
		}
		if !errors.Is(err, unix.EAGAIN) {
			return err
		}
	}
	return nil
}

// fillNetlink leaves the answers of a netlink socket unread.
func fillNetlink() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, fillStep); err != nil {
		return err
	}
	return askNetlink(fd)
}

// askNetlink asks for the interfaces so often that there is no room for an answer.
func askNetlink(fd int) error {
	ask := make([]byte, unix.NLMSG_HDRLEN+unix.SizeofRtGenmsg)
	ne := binary.NativeEndian
	ne.PutUint32(ask, uint32(len(ask)))
	ne.PutUint16(ask[4:], unix.RTM_GETLINK)
	ne.PutUint16(ask[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	for range 2 * fillStep / 768 { // what one answer takes, at least
		if err := unix.Sendto(fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
	}
	return nil
}

// fillStream leaves so much in connections over the pod's own loopback, of which
// nobody reads.
func fillStream(most int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	for most > 0 {
		near, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		far, err := l.Accept()
		if err != nil {
			return err
		}
		keptConns = append(keptConns, near, far)
		raw, err := near.(*net.TCPConn).SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) {
			for n := 0; n >= 0; most -= max(n, 0) {
				n, _ = unix.Write(int(fd), make([]byte, 64<<10)) // -1 when it has no room
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// fillDatagrams leaves so much in datagrams over the pod's own loopback, of which
// nobody reads.
func fillDatagrams(most int) error {
	for most > 0 {
		far, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		keptPackets = append(keptPackets, far)
		near, err := net.Dial("udp", far.LocalAddr().String())
		if err != nil {
			return err
		}
		for range 8 { // more would be dropped
			if _, err := near.Write(make([]byte, 24<<10)); err != nil {
				return err
			}
		}
		if err := near.Close(); err != nil {
			return err
		}
		// Where there is no room a datagram is dropped, and nobody says so.
		held, err := receiveMemory(far.(*net.UDPConn))
		if err != nil {
			return err
		}
		if held == 0 {
			return errors.New("datagrams are dropped")
		}
		most -= held
	}
	return nil
}

// receiveMemory is what the kernel holds of what has come to a socket, in bytes.
func receiveMemory(c *net.UDPConn) (held int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info [16]uint32 // of SO_MEMINFO, whose first is SK_MEMINFO_RMEM_ALLOC
	size := uint32(unsafe.Sizeof(info))
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if errno != 0 {
		err = errors.Join(err, errno)
	}
	return int(info[0]), err
}

// fillScratch fills every file system in memory that a pod may write to. Each has
// a bound of its own, and there are several.
func fillScratch() error {
	for _, dir := range []string{"/dev/shm", "/tmp", "/var/tmp", "/run"} {
		for i := 0; ; i++ {
			err := os.WriteFile(fmt.Sprintf("%s/fill%d", dir, i), make([]byte, fillStep), 0o600)
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EACCES) {
				break
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

const memoryMost = 1 << 30

var (
	keptConns   []net.Conn       // by fillStream
	keptPackets []net.PacketConn // by fillDatagrams
)

var fillSum byte

func fillMemory(step func() error) error {
	return fillMany(memoryMost/fillStep, func(int) error { return step() })
}

var kept []*os.File // by fillUnlinked

const (
	fillMost = 4 << 30
	fillStep = 4 << 20
)

func fillMain(args []string) {
	fill, ofMemory := memoryFills[args[0]]
	switch {
	case trailed[args[0]] != nil:
		fill = trailed[args[0]]
	case args[0] == endedRole:
		fill = func() error { return withoutFirstThread(takeAndWait) }
	case args[0] == scratch:
		fill, ofMemory = fillScratch, true
	case !ofMemory:
		fill = fills[args[0]]
	}
	if err := fill(); err != nil {
		fmt.Println("refused:", err)
		return
	}
	if ofMemory {
		time.Sleep(time.Minute) // a look twice a second meets it, and ends this
	}
	fmt.Println("filled")
}

func fillMany(n int, step func(i int) error) error {
	for i := range n {
		if err := step(i); err != nil {
			return err
		}
	}
	return nil
}

func fillFiles(fill func(f *os.File) error) error {
	return fillMany(fillMost/fillStep, func(i int) error {
		f, err := os.Create(fmt.Sprintf("f%d", i))
		if err != nil {
			return err
		}
		if err := fill(f); err != nil || slices.Contains(kept, f) {
			return err
		}
		return f.Close()
	})
}

func fallocate(f *os.File) error { return unix.Fallocate(int(f.Fd()), 0, 0, fillStep) }

// reserve is fallocate as an ioctl (FS_IOC_RESVSP64).
func reserve(f *os.File) error {
	var space [48]byte
	binary.NativeEndian.PutUint64(space[16:], fillStep) // l_len, from the beginning
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x4030582a, uintptr(unsafe.Pointer(&space))); errno != 0 {
		return errno
	}
	return nil
}

// mapPages writes without a call that writes.
func mapPages(f *os.File) error {
	b, err := touch(f)
	if err != nil {
		return err
	}
	return unix.Munmap(b)
}

// fillUnlinked leaves files without a name open.
func fillUnlinked() error {
	return fillFiles(func(f *os.File) error {
		kept = append(kept, f)
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
		_, err := f.Write(make([]byte, fillStep))
		return err
	})
}

// fillMapped closes them too; they are only mapped.
func fillMapped() error {
	return fillFiles(func(f *os.File) error {
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
		_, err := touch(f)
		return err
	})
}

// fillMappings has the kernel list far more than mappingsMost, and then waits for what
// comes of it.
func fillMappings() error {
	if err := descend(32); err != nil {
		return err
	}
	f, err := os.Create("mapped")
	if err != nil {
		return err
	}
	defer f.Close()
	for range 4 * mappingsMost / (32 * 200) { // fewer than 65,530, each with the whole path
		if _, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED); err != nil {
			return err
		}
	}
	time.Sleep(time.Minute)
	return nil
}

// touch maps a new file and writes to each page.
func touch(f *os.File) ([]byte, error) {
	if err := f.Truncate(fillStep); err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, fillStep, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return b, err
}

// descend goes into so many new folders, each in the one before, whose path together
// is longer than the kernel tells when there are 32 of them.
func descend(folders int) error {
	return fillMany(folders, func(int) error {
		name := strings.Repeat("d", 200)
		return errors.Join(os.Mkdir(name, 0o700), os.Chdir(name))
	})
}

func init() {
	if len(os.Args) > 1 && os.Args[1] == fillRole {
		runtime.LockOSThread() // so that main runs on the first thread
	}
}

// withoutFirstThread ends the process's first thread and does the rest on others. What
// /proc tells by the number of the process is then of a thread that has ended.
func withoutFirstThread(rest func() error) error {
	go func() {
		for {
			if p, err := readProcess(os.Getpid()); err == nil && p.ended {
				break
			}
			runtime.Gosched()
		}
		if err := rest(); err != nil {
			fmt.Println("refused:", err)
		} else {
			time.Sleep(time.Minute)
			fmt.Println("filled")
		}
		os.Exit(0)
	}()
	_, _, errno := unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	return errno
}
