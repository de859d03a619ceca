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
	"sync"
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
	ctx, deafen := untilAsked()
	code := run(ctx, process{Args: os.Args[1:], Env: handover.Without(os.Environ()), Baton: baton, Deafen: deafen, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	deafen()
	return code
}

// untilAsked is a context that ends with the first signal that asks to finish. With the
// default back in place a second one ends the process at once. From the call of deafen on
// the first does, too; it reports whether one came before.
func untilAsked() (ctx context.Context, deafen func() bool) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, heard := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer close(heard)
		if _, asked := <-signals; asked {
			signal.Stop(signals)
			cancel()
		}
	}()
	return ctx, sync.OnceValue(func() bool {
		signal.Stop(signals) // which waits for what is on its way; Reset would lose it
		close(signals)
		<-heard
		return ctx.Err() != nil
	})
}
