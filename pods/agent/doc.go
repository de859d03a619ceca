// Package agent is podgate's own process inside a pod: it supervises the app,
// runs commands, moves files and keeps logs, all as the pod's user and inside
// the pod's isolation, so that no trick with a path or a process reaches the
// host. The server speaks to it over streams that the runtime provides; [wire] is
// that protocol.
//
// What holds, whoever runs in the pod:
//
//   - [Serve] ends with its listener, and nothing that it started outlives it.
//   - A command that is cancelled or out of time is killed with everything it
//     started, also what left its session, its group and its parent.
//   - Files are touched only below the home and the temporary folder, and no
//     open ever waits for a pipe or a device.
//   - Output, logs, listings and bodies are bounded, in memory and on disk.
//
// Paths of the protocol are those that the pod sees: /home/pod and /tmp. A
// runtime for tests may lay them elsewhere through [Config].
//
// It imports nothing of the rest of podgate but the protocol and the presets: it
// runs where hostile code runs.
package agent
