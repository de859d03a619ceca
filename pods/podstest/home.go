package podstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"podgate/pods"
	"podgate/pods/wire"
	"podgate/store"
)

// testHome takes the home of a stopped pod out and puts it into another, by
// starting both without an app. Every runtime has this way to the homes it keeps.
func testHome(t *testing.T, r pods.Runtime) {
	b := newBench(t, r)
	from := b.create("shop", "static", nil).ID
	b.write("shop", "page", "mine")
	b.prints("shop", "chmod 700 page; ln -s page link; mkdir -p ../deep/er; head -c 3000000 /dev/zero > ../deep/er/big")
	if _, err := b.Stop(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	old := bare()
	old.ID = from
	must(t, "start the old pod", r.Start(t.Context(), old, quiet))
	home := call(t, r, from, http.MethodGet, wire.PathHome, nil)
	idle(t, r, from)
	must(t, "stop the old pod", r.Stop(t.Context(), from))

	to := bare()
	must(t, "start the new pod", r.Start(t.Context(), to, quiet))
	call(t, r, to.ID, http.MethodPut, fmt.Sprintf("%s?max=%d", wire.PathHome, to.Limits.Disk), home)
	idle(t, r, to.ID)
	must(t, "stop the new pod", r.Stop(t.Context(), to.ID))
	must(t, "start the new pod again", r.Start(t.Context(), to, quiet))
	for path, want := range map[string]string{"page": "mine", "link": "mine", "../deep/er/big": string(make([]byte, 3000000))} {
		if got := call(t, r, to.ID, http.MethodGet, wire.PathFile+"?whole=1&path="+url.QueryEscape(path), nil); string(got) != want {
			t.Errorf("%s has %d bytes in the new home, want %d", path, len(got), len(want))
		}
	}
	must(t, "remove", r.Remove(t.Context(), to.ID))
}

// idle looks whether a pod runs without its app.
func idle(t *testing.T, r pods.Runtime, id store.PodID) {
	t.Helper()
	dial := func(ctx context.Context) (net.Conn, error) { return r.Dial(ctx, id) }
	var state wire.State
	must(t, "ask for the state", ask(t.Context(), dial, wire.PathState, &state))
	if state.App != wire.AppStopped || state.PID != 0 {
		t.Errorf("the app of a pod that was only started is %+v", state)
	}
}

// call has the agent of a pod answer a request, or ends the test.
func call(t *testing.T, r pods.Runtime, id store.PodID, method, target string, body []byte) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://agent"+target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := agentClient(func(ctx context.Context) (net.Conn, error) { return r.Dial(ctx, id) }).Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if fault := res.Trailer.Get(wire.TrailerFault); err != nil || res.StatusCode != http.StatusOK || fault != "" {
		t.Fatalf("%s %s: %s, %v, %s, %.200q", method, target, res.Status, err, fault, answer)
	}
	return answer
}
