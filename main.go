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
	"os"
	"os/signal"
	"syscall"
)

func main() {
	dispatchChild()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks to finish; with the default back in place a second
	// one ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, process{Args: os.Args[1:], Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	stop()
	os.Exit(code)
}
