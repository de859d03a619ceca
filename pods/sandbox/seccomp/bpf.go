package seccomp

import "fmt"

// This file builds classic BPF programs for seccomp(2): a list of rules, each
// for one system call, which end in a verdict.

// The instructions used (linux/bpf_common.h).
const (
	bpfLoad    = 0x20 // BPF_LD | BPF_W | BPF_ABS
	bpfAnd     = 0x54 // BPF_ALU | BPF_AND | BPF_K
	bpfJump    = 0x05 // BPF_JMP | BPF_JA
	bpfEqual   = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	bpfAtLeast = 0x35 // BPF_JMP | BPF_JGE | BPF_K
	bpfReturn  = 0x06 // BPF_RET | BPF_K
)

// Verdicts (linux/seccomp.h).
const (
	verdictAllow uint32 = 0x7fff0000
	verdictErrno uint32 = 0x00050000
)

// Offsets in struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// Program is a filter that the kernel takes. It holds at least one instruction.
type Program []instruction

// instruction is struct sock_filter.
type instruction struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

// errno is the verdict that makes a call fail with the error number n.
func errno(n uint32) uint32 { return verdictErrno | n&0xffff }

// test looks at the low 32 bits of one argument, or with high at the rest. That is what the kernel
// itself looks at for every argument tested here (ioctl's command, families
// and types of sockets, personalities, clone's flags are int or unsigned int
// there), so high bits cannot be used to slip by.
type test struct {
	arg    int
	high   bool
	mask   uint32   // 0: all bits
	values []uint32 // the test holds when the masked argument is one of these
	not    bool     // the test holds when it is none of them
}

// rule answers one system call with verdict when all tests of one of the
// alternatives hold, or when there are no alternatives; otherwise the call is
// allowed.
type rule struct {
	number  uint32
	when    [][]test
	verdict uint32
}

// compile turns the rules into a program for the architecture with this
// AUDIT_ARCH number. Calls of other architectures and numbers above last get
// unknown. The error says that a rule is too long for the 8 bits of a jump.
func compile(arch, last uint32, rules []rule, unknown uint32) ([]instruction, error) {
	program := []instruction{
		{Code: bpfLoad, K: offsetArch},
		{Code: bpfEqual, Jt: 1, K: arch},
		{Code: bpfReturn, K: unknown},
		{Code: bpfLoad, K: offsetNumber},
		{Code: bpfAtLeast, Jf: 1, K: last + 1},
		{Code: bpfReturn, K: unknown},
	}
	for _, r := range rules {
		body := r.body()
		if len(body) > 255 {
			return nil, fmt.Errorf("seccomp rule for call %d is too long", r.number)
		}
		program = append(program, instruction{Code: bpfEqual, Jf: uint8(len(body)), K: r.number})
		program = append(program, body...)
	}
	return append(program, instruction{Code: bpfReturn, K: verdictAllow}), nil
}

// body is what runs once the number matched; it always ends in a verdict, so
// no rule runs into the next.
func (r rule) body() []instruction {
	if len(r.when) == 0 {
		return []instruction{{Code: bpfReturn, K: r.verdict}}
	}
	body := []instruction{{Code: bpfReturn, K: verdictAllow}}
	for i := len(r.when) - 1; i >= 0; i-- {
		alternative := []instruction{{Code: bpfReturn, K: r.verdict}}
		for j := len(r.when[i]) - 1; j >= 0; j-- {
			alternative = append(r.when[i][j].code(len(alternative)), alternative...)
		}
		body = append(alternative, body...)
	}
	return body
}

// code falls through when the test holds and else jumps over the rest
// instructions that follow it, to the next alternative.
func (t test) code(rest int) []instruction {
	offset := offsetArgs + 8*uint32(t.arg)
	if t.high {
		offset += 4 // both machines begin with the low half
	}
	code := []instruction{{Code: bpfLoad, K: offset}}
	if t.mask != 0 {
		code = append(code, instruction{Code: bpfAnd, K: t.mask})
	}
	for i, v := range t.values {
		over := len(t.values) - 1 - i // the comparisons behind this one
		if t.not {
			over += rest
		} else {
			over++ // and the jump behind them, taken when none was equal
		}
		code = append(code, instruction{Code: bpfEqual, Jt: uint8(over), K: v})
	}
	if t.not {
		return code
	}
	return append(code, instruction{Code: bpfJump, K: uint32(rest)})
}
