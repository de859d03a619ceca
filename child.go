package main

import (
	"podgate/pods/agent"
	"podgate/pods/sandbox"
)

// dispatchChild runs this process as a part of a pod when it was started as
// one, and then never returns. It comes before anything else: such a process
// must not read configuration, open files or start goroutines first.
func dispatchChild() {
	sandbox.Dispatch()
	agent.Dispatch()
}
