//go:build linux && (amd64 || arm64)

package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"podgate/pods"
	"podgate/store"
)

// This file fills what a pod may use by ways that no single limit of the kernel
// counts. The test binary runs inside a pod, as in attack_linux_test.go.

const fillRole = "fill"

// fills are ways to fill a disk; each goes on until it cannot, or until it has taken
// fillMost bytes, or as many files as fit into them, which is far beyond every
// limit of the tests.
var fills = map[string]func() error{
	"blocks": func() error { return fillFiles(fallocate) },
	"pages":  func() error { return fillFiles(mapPages) },
	"unlinked": func() error {
		return fillFiles(func(f *os.File) error {
			kept = append(kept, f)
			if err := os.Remove(f.Name()); err != nil {
				return err
			}
			_, err := f.Write(make([]byte, fillStep))
			return err
		})
	},
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
	"tables": func() error {
		return fillMemory(func() error {
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
		})
	},
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

var kept []*os.File // by unlinked

const (
	fillMost = 4 << 30
	fillStep = 4 << 20
)

func fillMain(args []string) {
	fill, ofMemory := memoryFills[args[0]]
	switch {
	case trailed[args[0]] != nil:
		fill = trailed[args[0]]
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
		time.Sleep(3 * watchPeriod) // a look twice a second meets it
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

// mapPages writes without a call that writes.
func mapPages(f *os.File) error {
	if err := f.Truncate(fillStep); err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, fillStep, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return unix.Munmap(b)
}

// Whichever way memory is taken, it ends near the limit, and the pod goes on.
func TestPodMemoryFills(t *testing.T) {
	t.Parallel()
	r, program := filler(t)
	start(t, r, "a", pods.Limits{Memory: 256 << 20, CPUs: 2, Disk: 1 << 30, Processes: 100})
	began := statusOf(t, r, "a").Started
	for name := range memoryFills {
		got := command(t, r, "a", fmt.Sprintf("%s %s '%s'", program, fillRole, name))
		if strings.Contains(got.stdout, "filled") {
			t.Errorf("%s: nothing stopped it: %+v", name, got)
		}
	}
	if got := command(t, r, "a", "echo well"); got.stdout != "well\n" {
		t.Errorf("after it: %+v", got)
	}
	if s := statusOf(t, r, "a"); s.Started != began {
		t.Errorf("the agent did not survive: %+v", s)
	}
}

const scratch = "scratch"

// The file systems in memory count: together they have more room than the pod has
// memory. Killing who wrote does not empty them, so the pod may end with it.
func TestPodScratchFills(t *testing.T) {
	t.Parallel()
	r, program := filler(t)
	plan := pods.Limits{Memory: 256 << 20, CPUs: 2, Disk: 1 << 30, Processes: 100}
	start(t, r, "a", plan)
	got, err := tryCommand(t.Context(), r, "a", fmt.Sprintf("%s %s %s", program, fillRole, scratch))
	if strings.Contains(got.stdout, "filled") || err == nil && got.code == 0 {
		t.Errorf("nothing stopped it: %+v, %v", got, err)
	}
	if err := r.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	start(t, r, "a", plan)
	if got := command(t, r, "a", "ls /dev/shm /tmp; echo well"); !strings.HasSuffix(got.stdout, "well\n") || strings.Contains(got.stdout, "fill") {
		t.Errorf("after it: %+v", got)
	}
}

// Where no cgroup counts them the buffers of connections are small.
func TestPodBuffersAreBounded(t *testing.T) {
	t.Parallel()
	r := open(t, Config{})
	if r.groups.has("memory") {
		t.Skip("a cgroup counts them")
	}
	start(t, r, "a", limits)
	if got := command(t, r, "a", "cat /proc/sys/net/ipv4/tcp_rmem /proc/sys/net/ipv4/tcp_wmem"); strings.Join(strings.Fields(got.stdout), " ") != "4096 65536 262144 4096 65536 262144" {
		t.Errorf("%+v", got)
	}
}

// filler is a runtime whose pods have the test binary, by the way that it returns.
func filler(t *testing.T) (r *Runtime, program string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(bin, "fill")
	if err := copySelf(program); err != nil {
		t.Fatal(err)
	}
	return open(t, Config{Binds: []string{bin}}), program
}

const diskPlan = 64 << 20 // bytes of those that are filled

// What is taken of the disk counts, neither how large files are nor how much was
// written: files with holes, larger together than the plan, and holes that are made
// again, may be until the plan is used up. Then who fills them is stopped, in whatever
// way, within about a second where the machine is not busy, and one who writes less than
// 2 MiB a second after as much more.
func TestPodHolesFill(t *testing.T) {
	t.Parallel()
	const soon, over = 20 * time.Second, 2 * diskPlan // much later and much more than it is, for machines that are busy
	r, program := filler(t)
	for i, name := range slices.Sorted(maps.Keys(trailed)) {
		id := store.PodID(fmt.Sprint("p", i))
		start(t, r, id, pods.Limits{Memory: limits.Memory, CPUs: 2, Disk: diskPlan, Processes: 100})
		got := command(t, r, id, fmt.Sprintf("%s %s '%s'", program, fillRole, name))
		if strings.Contains(got.stdout, "filled") || strings.Contains(got.stdout, "refused") || got.code == 0 {
			t.Errorf("%s: nothing stopped it: %d, %.100q", name, got.code, got.stderr)
		}
		var first, taken, at int64 // when it had more than the plan, and the last that it told
		for line := range strings.Lines(got.stdout) {
			if _, err := fmt.Sscanf(line, "taken %d %d", &taken, &at); err != nil {
				continue
			}
			if taken > diskPlan && first == 0 {
				first = at
			}
		}
		late := time.Duration(at-first) * time.Millisecond
		if first == 0 || late > soon || taken > diskPlan+over {
			t.Errorf("%s: stopped %v after the plan was used up, with %d MiB", name, late, taken>>20)
		}
		t.Logf("%s: stopped %v after the plan was used up, with %.1f MiB of %d", name, late, float64(taken)/(1<<20), diskPlan>>20)
		if st, err := r.Status(t.Context(), id); err != nil || len(st.Kills) == 0 || !strings.HasPrefix(st.Kills[0].Reason, "disk full") {
			t.Errorf("%s: the reasons: %+v, %v", name, st.Kills, err)
		}
		if err := r.Stop(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// Whichever way a pod's home is filled, it ends soon after the limit, and says why;
// what makes room goes on.
func TestPodDiskFills(t *testing.T) {
	t.Parallel()
	const most = diskPlan
	for name := range fills {
		t.Run(name, func(t *testing.T) {
			r, program := filler(t)
			start(t, r, "a", pods.Limits{Memory: limits.Memory, CPUs: 2, Disk: most, Processes: 100})
			got := command(t, r, "a", fmt.Sprintf("mkdir -p full; cd full; %s %s %s", program, fillRole, name))
			if strings.Contains(got.stdout, "filled") {
				t.Errorf("nothing stopped it: %+v", got)
			}
			// What it may have by then follows from how fast it writes: through mapped
			// pages a third of a GiB in a third of a second, on a machine with nothing
			// else to do. TestPodHolesFill bounds it for one that takes its time.
			used, _, err := measureTree(filepath.Join(r.folder("a"), "home"))
			if err != nil || used > 8*most {
				t.Errorf("%d MiB of %d are used, %v", used>>20, most>>20, err)
			}
			kills := statusOf(t, r, "a").Kills
			if refused := strings.Contains(got.stdout, "refused"); !refused && (len(kills) == 0 || !strings.HasPrefix(kills[0].Reason, "disk full")) {
				t.Errorf("the reasons: %+v, the filler %+v", kills, got)
			}
			if got := command(t, r, "a", "rm -r full; echo rid"); got.stdout != "rid\n" {
				t.Errorf("cleaning up: %+v", got)
			}
		})
	}
}
