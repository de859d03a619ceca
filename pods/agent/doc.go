// Package agent is podgate's own process inside a pod: it supervises the app,
// runs commands, moves files and keeps logs, all as the pod's user and inside
// the pod's isolation, so that no trick with a path or a process reaches the
// host. The server speaks to it over streams that the runtime provides; wire.go
// is that protocol.
//
// It imports nothing of the rest of podgate: it runs where hostile code runs.
package agent
