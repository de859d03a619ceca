package agent

import "os"

// roleStatic is argv[0] of our own file server.
const roleStatic = "podgate-static"

// Dispatch runs the role that this process was started for and exits, when it
// was started by an agent as one of its children; else it returns at once. It
// belongs at the very top of main, and of TestMain of tests that run an agent.
func Dispatch() {
	if len(os.Args) > 0 && os.Args[0] == roleStatic {
		os.Exit(runStatic(os.Args[1:]))
	}
}
