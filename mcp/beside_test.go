package mcp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What runs beside an app is told, as text and as data, and its lines can be asked
// for.
func TestBeside(t *testing.T) {
	t.Parallel()
	c := newBench(t).connect("ann", modern)
	c.call("create_pod", args{"name": "shop", "preset": "command"})
	c.call("write_file", args{"name": "shop", "path": "Procfile", "content": "mailer: echo up; exec sleep 60\nbroken: exit 4\ncron: 0 3 * * * echo night\n"})
	c.call("manage_pod", args{"name": "shop", "action": "reload"})
	c.b.until("a worker died", func() bool {
		return strings.Contains(text(c.result("get_pod", args{"name": "shop"})), "exited with code 4")
	})
	res := c.result("get_pod", args{"name": "shop"})
	for _, want := range []string{"\nworker mailer: running, restarted 0 times, started ", "\nworker broken: ", "\ncron 1: 0 3 * * * echo night: next 20"} {
		if !strings.Contains(text(res), want) {
			t.Errorf("no %q in %s", want, text(res))
		}
	}
	data := res.StructuredContent.(args)
	if got := fmt.Sprint(data["workers"], data["crons"]); !strings.Contains(got, "name:mailer") || !strings.Contains(got, "when:0 3 * * *") {
		t.Errorf("%s", got)
	}
	c.b.until("its line is in the log", func() bool {
		return strings.Contains(fmt.Sprint(c.call("get_logs", args{"name": "shop", "source": "worker"})["lines"]), "text:mailer: up")
	})
	if text := c.refused("get_logs", args{"name": "shop", "source": "mailer"}); !strings.Contains(text, "worker") {
		t.Errorf("%s", text)
	}
	c.call("write_file", args{"name": "shop", "path": "Procfile", "content": "web: x\ncron: 61 * * * * x\n"})
	if text := c.refused("manage_pod", args{"name": "shop", "action": "reload"}); !strings.Contains(text, "«cron: 61 * * * * x» cannot be read") {
		t.Errorf("%s", text)
	}
}

// until polls until something holds.
func (b *bench) until(what string, holds func() bool) {
	b.Helper()
	for deadline := time.Now().Add(40 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("never happened: %s", what)
		}
	}
}
