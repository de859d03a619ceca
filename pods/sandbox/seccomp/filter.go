package seccomp

import "fmt"

// This file says which system calls a pod may not make. The filter is a second
// wall: without capabilities most of these fail anyway. It takes away what a
// process could do in a new user namespace, parts of the kernel with a history
// of bugs, and what looks into or pushes into other processes.

// Numbers of errors, the same on every Linux.
const (
	ePERM           = 1
	eNOSYS          = 38
	eOPNOTSUPP      = 95
	eNOSPC          = 28
	ePROTONOSUPPORT = 93
)

// machine is an architecture that has a table.
type machine struct {
	audit uint32 // AUDIT_ARCH_…
	last  uint32 // highest call known; higher ones answer ENOSYS, and so does the x32 range
}

var machines = map[string]machine{
	"amd64": {audit: 0xc000003e, last: 471},
	"arm64": {audit: 0xc00000b7, last: 471},
}

// call is one system call with its number on each architecture; -1 where it
// does not exist.
type call struct {
	name         string
	amd64, arm64 int
}

func (c call) number(arch string) int {
	if arch == "amd64" {
		return c.amd64
	}
	return c.arm64
}

// forbidden always fails with EPERM.
var forbidden = []call{
	// mounts and roots
	{"mount", 165, 40}, {"umount2", 166, 39}, {"pivot_root", 155, 41}, {"chroot", 161, 51},
	{"open_tree", 428, 428}, {"open_tree_attr", 467, 467}, {"move_mount", 429, 429},
	{"fsopen", 430, 430}, {"fsconfig", 431, 431}, {"fsmount", 432, 432}, {"fspick", 433, 433},
	{"mount_setattr", 442, 442}, {"statmount", 457, 457}, {"listmount", 458, 458},
	// namespaces
	{"setns", 308, 268}, {"unshare", 272, 97},
	// wide parts of the kernel
	{"bpf", 321, 280}, {"perf_event_open", 298, 241}, {"userfaultfd", 323, 282},
	{"io_uring_setup", 425, 425}, {"io_uring_enter", 426, 426}, {"io_uring_register", 427, 427},
	{"add_key", 248, 217}, {"request_key", 249, 218}, {"keyctl", 250, 219},
	{"memfd_secret", 447, 447}, {"modify_ldt", 154, -1}, {"remap_file_pages", 216, 234},
	{"move_pages", 279, 239}, {"migrate_pages", 256, 238},
	// other processes
	{"ptrace", 101, 117}, {"process_vm_readv", 310, 270}, {"process_vm_writev", 311, 271},
	{"process_madvise", 440, 440}, {"pidfd_getfd", 438, 438}, {"kcmp", 312, 272},
	// files by other ways than their path
	{"open_by_handle_at", 304, 265}, {"lookup_dcookie", 212, 18},
	{"fanotify_init", 300, 262}, {"fanotify_mark", 301, 263},
	// the machine
	{"kexec_load", 246, 104}, {"kexec_file_load", 320, 294}, {"reboot", 169, 142},
	{"init_module", 175, 105}, {"finit_module", 313, 273}, {"delete_module", 176, 106},
	{"create_module", 174, -1}, {"query_module", 178, -1}, {"get_kernel_syms", 177, -1},
	{"clock_settime", 227, 112}, {"clock_adjtime", 305, 266}, {"settimeofday", 164, 170}, {"adjtimex", 159, 171},
	{"swapon", 167, 224}, {"swapoff", 168, 225}, {"acct", 163, 89}, {"syslog", 103, 116},
	{"quotactl", 179, 60}, {"quotactl_fd", 443, 443}, {"vhangup", 153, 58},
	{"sethostname", 170, 161}, {"setdomainname", 171, 162}, {"iopl", 172, -1}, {"ioperm", 173, -1},
	{"nfsservctl", 180, 42}, {"uselib", 134, -1}, {"ustat", 136, -1}, {"sysfs", 139, -1}, {"_sysctl", 156, -1},
}

// Calls that are answered by their arguments.
var (
	callClone       = call{"clone", 56, 220}
	callClone3      = call{"clone3", 435, 435}
	callFallocate   = call{"fallocate", 285, 47}
	callMemfd       = call{"memfd_create", 319, 279}
	callMsgget      = call{"msgget", 68, 186}
	callSemget      = call{"semget", 64, 190}
	callShmget      = call{"shmget", 29, 194}
	callIoctl       = call{"ioctl", 16, 29}
	callPersonality = call{"personality", 135, 92}
	callSocket      = call{"socket", 41, 198}
	callSocketpair  = call{"socketpair", 53, 199}
)

const (
	// newNamespaces is CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET.
	newNamespaces = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000

	ioctlTIOCSTI   = 0x5412 // types into a terminal as if its user did
	ioctlTIOCLINUX = 0x541c // pastes into a console

	// Fallocate by another name (linux/falloc.h), as every file system has it.
	ioctlReserve, ioctlReserve64, ioctlZeroRange = 0x40305828, 0x4030582a, 0x40305839
	// A tree in a tree of btrfs (linux/btrfs.h), whose files are those of another device.
	ioctlSnapshot, ioctlSubvolume, ioctlSnapshot2, ioctlSubvolume2 = 0x50009401, 0x5000940e, 0x50009417, 0x50009418

	familyUnix, familyInet, familyInet6, familyNetlink = 1, 2, 10, 16

	fallocFreeing = 0x2 | 0x8 // FALLOC_FL_PUNCH_HOLE and COLLAPSE_RANGE

	protocolMPTCP  = 262
	socketTypeMask = 0xf // without SOCK_CLOEXEC and SOCK_NONBLOCK
)

// byArgument are the rules for calls of which a part is forbidden.
func byArgument(arch string) []rule {
	internet := []uint32{familyInet, familyInet6}
	return []rule{
		// clone3 hides its flags behind a pointer; C libraries fall back to
		// clone on ENOSYS.
		{number: uint32(callClone3.number(arch)), verdict: errno(eNOSYS)},
		{number: uint32(callClone.number(arch)), verdict: errno(ePERM), when: [][]test{
			{{arg: 0, mask: newNamespaces, values: []uint32{0}, not: true}},
		}},
		// It takes gigabytes of a disk in a moment, before anything can have measured
		// them. Programs and C libraries write instead where a file system has no
		// such call. What gives room back is allowed.
		{number: uint32(callFallocate.number(arch)), verdict: errno(eOPNOTSUPP), when: [][]test{
			{{arg: 1, mask: fallocFreeing, values: []uint32{0}}},
		}},
		{number: uint32(callIoctl.number(arch)), verdict: errno(ePERM), when: [][]test{
			{{arg: 1, values: []uint32{ioctlTIOCSTI, ioctlTIOCLINUX}}},
			{{arg: 1, values: []uint32{ioctlReserve, ioctlReserve64, ioctlZeroRange}}},
			{{arg: 1, values: []uint32{ioctlSnapshot, ioctlSubvolume, ioctlSnapshot2, ioctlSubvolume2}}},
		}},
		// Linux, Linux for 32 bits, both with an old version number, and the
		// question which one is set.
		{number: uint32(callPersonality.number(arch)), verdict: errno(ePERM), when: [][]test{
			{{arg: 0, values: []uint32{0, 8, 0x20000, 0x20008, 0xffffffff}, not: true}},
		}},
		{number: uint32(callSocketpair.number(arch)), verdict: errno(ePERM), when: [][]test{
			{{arg: 0, values: []uint32{familyUnix}, not: true}},
		}},
		// TCP, UDP, ICMP, ping, MPTCP; of netlink only what lists addresses and
		// routes. SCTP, DCCP and their like would load modules of the kernel.
		{number: uint32(callSocket.number(arch)), verdict: errno(ePERM), when: [][]test{
			{{arg: 0, values: []uint32{familyUnix, familyInet, familyInet6, familyNetlink}, not: true}},
			{{arg: 0, values: []uint32{familyNetlink}}, {arg: 2, values: []uint32{0}, not: true}},
			{{arg: 0, values: internet}, {arg: 1, mask: socketTypeMask, values: []uint32{1, 2, 3}, not: true}},
			{{arg: 0, values: internet}, {arg: 2, values: []uint32{0, 1, 6, 17, 58, protocolMPTCP}, not: true}},
		}},
	}
}

// sealed fails too in a process that has all it needs in its descriptors: it
// opens nothing, starts nothing, and makes no socket.
var sealed = []call{
	{"open", 2, -1}, {"openat", 257, 56}, {"openat2", 437, 437}, {"creat", 85, -1}, {"truncate", 76, 45},
	{"execve", 59, 221}, {"execveat", 322, 281},
	{"socket", 41, 198}, {"connect", 42, 203}, {"bind", 49, 200}, {"listen", 50, 201},
	{"kill", 62, 129}, {"pidfd_open", 434, 434}, {"pidfd_send_signal", 424, 424},
	{"unlink", 87, -1}, {"unlinkat", 263, 35}, {"rmdir", 84, -1}, {"mkdir", 83, -1}, {"mkdirat", 258, 34},
	{"rename", 82, -1}, {"renameat", 264, 38}, {"renameat2", 316, 276}, {"link", 86, -1}, {"linkat", 265, 37},
	{"symlink", 88, -1}, {"symlinkat", 266, 36}, {"mknod", 133, -1}, {"mknodat", 259, 33},
	{"chmod", 90, -1}, {"fchmodat", 268, 53}, {"fchmodat2", 452, 452}, {"chown", 92, -1}, {"lchown", 94, -1}, {"fchownat", 260, 54},
	{"chdir", 80, 49}, {"fchdir", 81, 50},
}

// steering changes limits, priorities or processors of the process that an
// argument names. With target 1 the first argument says what that names, and
// user is what stands for all processes of a user.
var steering = []struct {
	call
	target int
	user   uint32
}{
	{call: call{"prlimit64", 302, 261}},
	{call: call{"sched_setaffinity", 203, 122}},
	{call: call{"sched_setscheduler", 144, 119}},
	{call: call{"sched_setparam", 142, 118}},
	{call: call{"sched_setattr", 314, 274}},
	{call: call{"setpriority", 141, 140}, target: 1, user: 2},
	{call: call{"ioprio_set", 251, 30}, target: 1, user: 3},
}

// uncounted are the rules for memory of the kernel that belongs to no process, so
// that only a cgroup counts it. Small pieces of System V memory and semaphores stay:
// databases want them, and there can be 4096 and 32000 of them.
func uncounted(arch string) []rule {
	large := func(arg int, below uint32) [][]test {
		return [][]test{{{arg: arg, mask: ^(below - 1), values: []uint32{0}, not: true}}}
	}
	number := func(c call) uint32 { return uint32(c.number(arch)) }
	return []rule{
		{number: number(callMemfd), verdict: errno(eNOSYS)},
		// What its sockets hold is listed under no protocol that is asked for.
		{number: number(callSocket), verdict: errno(ePROTONOSUPPORT), when: [][]test{{{arg: 2, values: []uint32{protocolMPTCP}}}}},
		{number: number(callMsgget), verdict: errno(eNOSYS)},
		{number: number(callSemget), verdict: errno(eNOSPC), when: large(1, 64)},
		{number: number(callShmget), verdict: errno(eNOSPC), when: append(large(1, 16<<10), []test{{arg: 1, high: true, values: []uint32{0}, not: true}})},
	}
}

// Uncounted is the program, beside Filter, of a pod whose memory no cgroup counts.
func Uncounted(arch string) (Program, error) {
	m, ok := machines[arch]
	if !ok {
		return nil, errNoTable(arch)
	}
	return compile(m.audit, m.last, uncounted(arch), errno(eNOSYS))
}

// Filter is the program of a pod for an architecture by its Go name.
func Filter(arch string) (Program, error) { return build(arch, forbidden) }

// Sealed is the program of a process of ours that works on what pods send, for
// an architecture by its Go name.
func Sealed(arch string) (Program, error) {
	return build(arch, append(sealed[:len(sealed):len(sealed)], forbidden...))
}

// Children is the program, beside that of the pod, of all that a pod's agent
// starts, for an architecture by its Go name: it keeps that from slowing down or
// starving the agent, which has the same user. A filter cannot know the number
// of the process that calls, so these calls take none but 0, which means it.
func Children(arch string) (Program, error) {
	m, ok := machines[arch]
	if !ok {
		return nil, errNoTable(arch)
	}
	var rules []rule
	for _, c := range steering {
		when := [][]test{{{arg: c.target, values: []uint32{0}, not: true}}}
		if c.target > 0 {
			when = append(when, []test{{arg: 0, values: []uint32{c.user}}})
		}
		rules = append(rules, rule{number: uint32(c.number(arch)), when: when, verdict: errno(ePERM)})
	}
	return compile(m.audit, m.last, rules, errno(eNOSYS))
}

func errNoTable(arch string) error {
	return fmt.Errorf("no table of system calls for %s", arch)
}

func build(arch string, calls []call) (Program, error) {
	m, ok := machines[arch]
	if !ok {
		return nil, errNoTable(arch)
	}
	var rules []rule
	decided := map[int]bool{}
	for _, c := range calls {
		if n := c.number(arch); n >= 0 {
			rules = append(rules, rule{number: uint32(n), verdict: errno(ePERM)})
			decided[n] = true
		}
	}
	for _, r := range byArgument(arch) {
		if !decided[int(r.number)] {
			rules = append(rules, r)
		}
	}
	return compile(m.audit, m.last, rules, errno(eNOSYS))
}
