// Package sandbox runs pods on the Linux machine it is on, with what the
// kernel offers and without any helper program: it is the embedded
// implementation of [pods.Runtime].
//
// # What a pod is
//
// A pod is one process tree in its own user, mount, process, IPC, UTS, network
// and cgroup namespaces. Its first process is podgate's own binary in the role
// of the agent (pods/agent). The tree
//
//   - runs as user 1000 without any capability, under no_new_privs and a
//     seccomp filter (package seccomp); as root of the host every pod has a host uid
//     of its own, otherwise that of the server;
//   - sees a read-only system (the host's /usr and a short list from /etc),
//     its own /proc, /dev, /tmp, and its home, which is the only place on disk
//     it can write to (mounts_linux.go, system_linux.go, binds.go);
//   - has a network with nothing but its own loopback;
//   - is limited by cgroups where they are ours to use, and by rlimits and a
//     watcher where not (cgroups_linux.go, watch_linux.go);
//     [pods.Status.Enforced] says which.
//
// # How it comes to life
//
// The server starts its own binary, from a sealed memory file made at Open, in
// new namespaces (stage 1). [Dispatch], the first call of main, sees by the
// name it was started with that it is such a child. Stage 1 reads its
// specification as JSON from one pipe, builds the root, gives up everything it
// was given and executes the same binary again as stage 2, which serves the
// agent. What fails is reported with the step and the error number over a
// second pipe, which execution closes. Descriptors other than the listed ones
// do not pass.
//
// The server keeps one end of a control socket pair per pod. Dial makes a new
// socket pair and sends one end through it, so there is no path, port or name
// that anybody else could connect to. The same socket is the lifeline: when
// the server goes away, however it ends, the agent reads end of file and ends,
// and the kernel ends the rest of the pod with it. Nothing is ever orphaned;
// pods come back by reconcile.
//
// # On disk
//
// Below Config.Dir, per pod: ID/home (mounted at /home/pod) and ID/logs, which
// only the agent has, as a descriptor. Who they belong to follows from the pod's number, which the
// store keeps; a file ID/uid of an earlier version means nothing any more. The
// folder is locked while a Runtime is open.
//
// # Limits of the promise
//
// The kernel is shared with the host: a bug of the kernel that a system call
// left open by the filter can reach is a way out. Docs/sandbox.md says so to
// the people who run this.
package sandbox
