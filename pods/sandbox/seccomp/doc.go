// Package seccomp says which system calls a pod may not make, and has the kernel
// see to it.
//
// [Filter] is the policy as a program of classic BPF (filter.go), made by a small
// builder of our own (bpf.go). It is the second wall of the sandbox: it knows
// nothing of pods, folders or limits, and works on any process that installs it.
// [Children] comes on top of it for what a pod's agent starts.
package seccomp
