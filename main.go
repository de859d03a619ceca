// Command podgate lets AI assistants run small isolated apps on a machine of
// one's own: an OAuth 2.1 authorization server, an MCP server and a runtime
// for pods in one program.
//
// Package main is wiring: commands (commands.go, cli.go, cmd*.go), the
// server's parts and their order of coming and going (serve.go), and which
// request goes to which part (routes.go, host.go). It holds no rule of the
// domain. The program is a value: main and the tests call the same [run].
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"podgate/internal/handover"
	"podgate/internal/mainthread"
)

func main() {
	dispatchChild()
	os.Exit(mainthread.Run(program))
}

// program is what main does, and returns the exit code.
func program() int {
	// Before anything else opens a file or starts a process.
	baton, err := handover.Received(os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, "podgate:", err)
		return exitFailed
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks to finish; with the default back in place a second
	// one ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, process{Args: os.Args[1:], Env: handover.Without(os.Environ()), Baton: baton, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	stop()
	return code
}
