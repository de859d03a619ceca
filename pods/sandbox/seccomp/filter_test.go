package seccomp

import (
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// callData is struct seccomp_data as the interpreter wants it. That loads
// words in network order where the kernel uses its own, so each word is
// written that way.
func callData(arch, number uint32, args [6]uint64) []byte {
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[0:], number)
	binary.BigEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
	}
	return data
}

func machineVM(t *testing.T, arch string) *bpf.VM {
	t.Helper()
	return vmOf(t, arch, Filter)
}

func vmOf(t *testing.T, arch string, filter func(string) (Program, error)) *bpf.VM {
	t.Helper()
	program, err := filter(arch)
	if err != nil {
		t.Fatal(err)
	}
	if len(program) > 4096 {
		t.Fatalf("%d instructions: the kernel takes 4096", len(program))
	}
	var instructions []bpf.Instruction
	for _, in := range program {
		instructions = append(instructions, bpf.RawInstruction{Op: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K}.Disassemble())
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func TestFilter(t *testing.T) {
	const (
		allow  = int(verdictAllow)
		cloneT = 0x3d0f00 // what a thread library passes: VM, FS, FILES, SIGHAND, THREAD, …
		high   = 1 << 40  // a bit that the kernel cuts off
	)
	perm, nosys, unsupported := int(errno(ePERM)), int(errno(eNOSYS)), int(errno(eOPNOTSUPP))
	type row struct {
		call call
		args [6]uint64
		want int
	}
	rows := []row{
		{call{"read", 0, 63}, [6]uint64{}, allow},
		{call{"execve", 59, 221}, [6]uint64{}, allow},
		{call{"getpid", 39, 172}, [6]uint64{}, allow},
		{call{"seccomp", 317, 277}, [6]uint64{}, allow},
		{callClone3, [6]uint64{}, nosys},
		{callClone, [6]uint64{17}, allow},
		{callClone, [6]uint64{cloneT}, allow},
		{callClone, [6]uint64{17 | high}, allow},
		{callClone, [6]uint64{0x10000000 | high}, perm},
		{callFallocate, [6]uint64{3, 0}, unsupported},
		{callFallocate, [6]uint64{3, 1 | high}, unsupported}, // KEEP_SIZE
		{callFallocate, [6]uint64{3, 0x10}, unsupported},     // ZERO_RANGE
		{callFallocate, [6]uint64{3, 0x40}, unsupported},     // UNSHARE_RANGE
		{callFallocate, [6]uint64{3, 3}, allow},              // PUNCH_HOLE
		{callFallocate, [6]uint64{3, 8}, allow},              // COLLAPSE_RANGE
		{callIoctl, [6]uint64{0, 0x5413}, allow},
		{callIoctl, [6]uint64{0, 0x5412}, perm},
		{callIoctl, [6]uint64{0, 0x5412 | high}, perm},
		{callIoctl, [6]uint64{0, 0x541c}, perm},
		{callIoctl, [6]uint64{0x5412, 0}, allow},
		{callIoctl, [6]uint64{3, 0x40305828}, perm}, // FS_IOC_RESVSP
		{callIoctl, [6]uint64{3, 0x4030582a}, perm},
		{callIoctl, [6]uint64{3, 0x40305839 | high}, perm}, // FS_IOC_ZERO_RANGE
		{callIoctl, [6]uint64{3, 0x4030582b}, allow},       // FS_IOC_UNRESVSP64 gives room back
		{callIoctl, [6]uint64{3, 0x50009401}, perm},        // BTRFS_IOC_SNAP_CREATE
		{callIoctl, [6]uint64{3, 0x5000940e}, perm},        // BTRFS_IOC_SUBVOL_CREATE
		{callIoctl, [6]uint64{3, 0x50009417}, perm},
		{callIoctl, [6]uint64{3, 0x50009418 | high}, perm},
		{callIoctl, [6]uint64{3, 0x40049409}, allow}, // FICLONE
		{callPersonality, [6]uint64{0xffffffff}, allow},
		{callPersonality, [6]uint64{0}, allow},
		{callPersonality, [6]uint64{0x20008}, allow},
		{callPersonality, [6]uint64{0x0400000}, perm}, // READ_IMPLIES_EXEC
		{callPersonality, [6]uint64{0x0040000}, perm}, // ADDR_NO_RANDOMIZE
		{callSocketpair, [6]uint64{1, 1}, allow},
		{callSocketpair, [6]uint64{30, 1}, perm},
		{callSocket, [6]uint64{1, 1}, allow},
		{callSocket, [6]uint64{1, 5}, allow},
		{callSocket, [6]uint64{2, 1, 6}, allow},
		{callSocket, [6]uint64{2, 1 | 0x80800, 0}, allow},
		{callSocket, [6]uint64{10, 2, 17}, allow},
		{callSocket, [6]uint64{10, 3, 58}, allow},
		{callSocket, [6]uint64{2, 1, 262}, allow},
		{callSocket, [6]uint64{2, 5, 0}, perm},   // SEQPACKET is SCTP
		{callSocket, [6]uint64{2, 1, 132}, perm}, // SCTP
		{callSocket, [6]uint64{2, 6, 0}, perm},   // DCCP
		{callSocket, [6]uint64{2 | high, 6, 0}, perm},
		{callSocket, [6]uint64{16, 3, 0}, allow},
		{callSocket, [6]uint64{16, 3, 12}, perm}, // netfilter
		{callSocket, [6]uint64{16, 3, 9}, perm},  // audit
		{callSocket, [6]uint64{17, 3, 0}, perm},  // PACKET
		{callSocket, [6]uint64{40, 1, 0}, perm},  // VSOCK
		{callSocket, [6]uint64{38, 5, 0}, perm},  // ALG
		{callSocket, [6]uint64{31, 3, 1}, perm},  // BLUETOOTH
		{callSocket, [6]uint64{44, 3, 0}, perm},  // XDP
	}
	for bit := range 32 {
		flag := uint32(1) << bit
		want := allow
		if flag&newNamespaces != 0 {
			want = perm
		}
		rows = append(rows, row{callClone, [6]uint64{uint64(flag) | 17}, want})
	}
	for _, c := range forbidden {
		rows = append(rows, row{c, [6]uint64{}, perm})
	}
	for arch, m := range machines {
		vm := machineVM(t, arch)
		for _, r := range rows {
			if n := r.call.number(arch); n >= 0 {
				got, err := vm.Run(callData(m.audit, uint32(n), r.args))
				if err != nil || got != r.want {
					t.Errorf("%s %s(%x): got %#x, %v, want %#x", arch, r.call.name, r.args, got, err, r.want)
				}
			}
		}
	}
}

// A process of ours that works on what pods send opens nothing, starts nothing
// and makes no socket, and does what it needs: read, write, wait, threads.
func TestSealedFilter(t *testing.T) {
	for arch, m := range machines {
		vm := vmOf(t, arch, Sealed)
		verdict := func(c call, args ...uint64) int {
			var all [6]uint64
			copy(all[:], args)
			got, err := vm.Run(callData(m.audit, uint32(c.number(arch)), all))
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for _, c := range append(sealed[:len(sealed):len(sealed)], forbidden...) {
			if c.number(arch) >= 0 && verdict(c, 2, 1, 0) != int(errno(ePERM)) {
				t.Errorf("%s: %s is allowed", arch, c.name)
			}
		}
		for _, c := range []call{{"read", 0, 63}, {"write", 1, 64}, {"recvmsg", 47, 212}, {"sendmsg", 46, 211}, {"mmap", 9, 222}, {"futex", 202, 98}, {"shutdown", 48, 210}, {"fcntl", 72, 25}, {"epoll_pwait", 281, 22}, {"exit_group", 231, 94}} {
			if verdict(c) != int(verdictAllow) {
				t.Errorf("%s: %s is refused", arch, c.name)
			}
		}
		if verdict(callClone, 0x3d0f00) != int(verdictAllow) || verdict(callClone, 0x10000000) != int(errno(ePERM)) {
			t.Errorf("%s: threads and namespaces", arch)
		}
	}
}

// What an agent starts steers itself, and nobody else: neither by number nor as one
// of a group or user. What else it calls is left to the filter of the pod.
func TestChildrenFilter(t *testing.T) {
	const allow, itself, other, high = int(verdictAllow), 0, 7, 1 << 40
	perm := int(errno(ePERM))
	for arch, m := range machines {
		vm := vmOf(t, arch, Children)
		run := func(c call, args ...uint64) int {
			var all [6]uint64
			copy(all[:], args)
			got, err := vm.Run(callData(m.audit, uint32(c.number(arch)), all))
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		// Written out: a table of ours could lack one.
		for _, c := range []struct {
			call
			target int
			user   uint32
		}{
			{call{"prlimit64", 302, 261}, 0, 0}, {call{"sched_setaffinity", 203, 122}, 0, 0}, {call{"sched_setscheduler", 144, 119}, 0, 0},
			{call{"sched_setparam", 142, 118}, 0, 0}, {call{"sched_setattr", 314, 274}, 0, 0}, {call{"setpriority", 141, 140}, 1, 2}, {call{"ioprio_set", 251, 30}, 1, 3},
		} {
			which := make([]uint64, c.target)
			if got := run(c.call, append(which, itself)...); got != allow {
				t.Errorf("%s: %s of itself: %#x", arch, c.name, got)
			}
			if got := run(c.call, append(which, high|other)...); got != perm {
				t.Errorf("%s: %s of another: %#x", arch, c.name, got)
			}
			if got := run(c.call, uint64(c.user), itself); c.target > 0 && got != perm {
				t.Errorf("%s: %s of all: %#x", arch, c.name, got)
			}
		}
		for _, c := range []call{{"read", 0, 63}, {"execve", 59, 221}, callClone, {"getpriority", 140, 141}} {
			if got := run(c, other, other); got != allow {
				t.Errorf("%s: %s: %#x", arch, c.name, got)
			}
		}
	}
}

// Without a cgroup for memory there is none that no process has.
func TestUncountedFilter(t *testing.T) {
	const allow, high = int(verdictAllow), 1 << 40
	for arch, m := range machines {
		vm := vmOf(t, arch, Uncounted)
		for _, r := range []struct {
			call call
			args [6]uint64
			want int
		}{
			{callMemfd, [6]uint64{}, int(errno(eNOSYS))},
			{callMsgget, [6]uint64{}, int(errno(eNOSYS))},
			{callSemget, [6]uint64{0, 63}, allow},
			{callSemget, [6]uint64{0, 64}, int(errno(eNOSPC))},
			{callSemget, [6]uint64{0, 32000}, int(errno(eNOSPC))},
			{callShmget, [6]uint64{0, 56}, allow},
			{callShmget, [6]uint64{0, 16<<10 - 1}, allow},
			{callShmget, [6]uint64{0, 16 << 10}, int(errno(eNOSPC))},
			{callShmget, [6]uint64{0, high | 56}, int(errno(eNOSPC))},
			{callSocket, [6]uint64{2, 1, 262}, int(errno(ePROTONOSUPPORT))},
			{callSocket, [6]uint64{2, 1, 6}, allow},
			{call{"mmap", 9, 222}, [6]uint64{0, high}, allow},
		} {
			if got, err := vm.Run(callData(m.audit, uint32(r.call.number(arch)), r.args)); err != nil || got != r.want {
				t.Errorf("%s %s(%x): got %#x, %v, want %#x", arch, r.call.name, r.args, got, err, r.want)
			}
		}
	}
}

// TestFilterStrangers tries what is not a call of the machine at all.
func TestFilterStrangers(t *testing.T) {
	nosys := int(errno(eNOSYS))
	for arch, m := range machines {
		vm := machineVM(t, arch)
		for _, c := range []struct {
			name         string
			arch, number uint32
		}{
			{"32 bit x86", 0x40000003, 20},
			{"32 bit arm", 0x40000028, 20},
			{"x32", m.audit, 0x40000000 | 39},
			{"newer than the table", m.audit, m.last + 1},
			{"highest", m.audit, 0xffffffff},
			{"big endian", m.audit &^ 0x40000000, 39},
		} {
			if got, err := vm.Run(callData(c.arch, c.number, [6]uint64{})); err != nil || got != nosys {
				t.Errorf("%s on %s: got %#x, %v, want ENOSYS", c.name, arch, got, err)
			}
		}
		if got, err := vm.Run(callData(m.audit, m.last, [6]uint64{})); err != nil || got != int(verdictAllow) {
			t.Errorf("the last known call of %s: got %#x, %v, want allow", arch, got, err)
		}
	}
}

// TestNumbers compares both tables with the ones of golang.org/x/sys/unix,
// whichever machine this runs on.
func TestNumbers(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix").Output()
	if err != nil {
		t.Fatalf("where is golang.org/x/sys/unix: %v", err)
	}
	dir := strings.TrimSpace(string(out))
	calls := append([]call{callClone, callClone3, callFallocate, callMemfd, callMsgget, callSemget, callShmget, callIoctl, callPersonality, callSocket, callSocketpair}, append(sealed, forbidden...)...)
	for _, c := range steering {
		calls = append(calls, c.call)
	}
	for arch := range machines {
		numbers := kernelNumbers(t, filepath.Join(dir, fmt.Sprintf("zsysnum_linux_%s.go", arch)))
		for _, c := range calls {
			want, ok := numbers[strings.ToUpper("SYS_"+c.name)]
			if !ok {
				want = -1
			}
			if got := c.number(arch); got != want {
				t.Errorf("%s on %s: the table says %d, it is %d", c.name, arch, got, want)
			}
		}
	}
}

// kernelNumbers are the integer constants of a Go file.
func kernelNumbers(t *testing.T, path string) map[string]int {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]int{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				if v, err := strconv.Atoi(literal.Value); err == nil {
					numbers[spec.Names[0].Name] = v
				}
			}
		}
		return true
	})
	return numbers
}

func TestFilterOtherMachine(t *testing.T) {
	for _, filter := range []func(string) (Program, error){Filter, Sealed, Children, Uncounted} {
		if _, err := filter("riscv64"); err == nil {
			t.Error("a filter for a machine without a table")
		}
	}
}

func TestCompileTooLong(t *testing.T) {
	long := test{arg: 0, values: make([]uint32, 300)}
	if _, err := compile(1, 2, []rule{{number: 1, when: [][]test{{long}}}}, 0); err == nil {
		t.Error("a rule whose jumps do not fit was compiled")
	}
}
