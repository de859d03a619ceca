//go:build linux && (amd64 || arm64)

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"

	"podgate/pods/agent"
)

func serveAgent(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc(agent.PathState, func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(agent.State{App: "stopped"}) })
	mux.HandleFunc(agent.PathExec, func(w http.ResponseWriter, r *http.Request) {
		var q agent.ExecRequest
		json.NewDecoder(r.Body).Decode(&q)
		c := exec.CommandContext(r.Context(), "/bin/sh", "-c", q.Command)
		c.Env = environ()
		for k, v := range q.Env {
			c.Env = append(c.Env, k+"="+v)
		}
		c.Dir = "/home/pod"
		var o, e bytes.Buffer
		c.Stdout, c.Stderr = &o, &e
		err := c.Run()
		x := &agent.Exit{}
		if c.ProcessState != nil {
			x.Code = c.ProcessState.ExitCode()
		} else {
			e.WriteString(err.Error())
			x.Code = 127
		}
		j := json.NewEncoder(w)
		j.Encode(agent.Event{Stream: "stdout", Data: o.Bytes()})
		j.Encode(agent.Event{Stream: "stderr", Data: e.Bytes()})
		j.Encode(agent.Event{Exit: x})
	})
	os.Chdir("/home/pod")
	return http.Serve(l, mux)
}
