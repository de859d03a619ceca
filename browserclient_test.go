package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"podgate/internal/webtest"
)

// clientPage is a client that lives in a page, such as the Inspector without
// its proxy: nothing but fetch, from an origin that is not podgate's.
const clientPage = `<!doctype html><title>Client</title><main>client</main><script>
const b64 = bytes => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

async function begin(endpoint) {
	const refused = await fetch(endpoint, {method: "POST", headers: {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}, body: "{}"});
	const challenge = refused.headers.get("WWW-Authenticate");
	if (refused.status !== 401 || !challenge) throw new Error("no challenge can be read: " + refused.status);
	const document = await (await fetch(challenge.match(/resource_metadata="([^"]*)"/)[1], {headers: {"MCP-Protocol-Version": "2025-11-25"}})).json();
	if (document.resource !== endpoint) throw new Error("the resource is " + document.resource);
	const absent = await fetch(document.authorization_servers[0] + "/.well-known/openid-configuration", {headers: {"MCP-Protocol-Version": "2025-11-25"}});
	if (absent.status !== 404) throw new Error("an absent document is " + absent.status);
	const server = await (await fetch(document.authorization_servers[0] + "/.well-known/oauth-authorization-server", {headers: {"MCP-Protocol-Version": "2025-11-25"}})).json();
	const redirect = location.origin + "/callback";
	const registered = await fetch(server.registration_endpoint, {method: "POST", headers: {"Content-Type": "application/json"},
		body: JSON.stringify({client_name: "In a page", redirect_uris: [redirect], token_endpoint_auth_method: "none"})});
	const client = await registered.json();
	const verifier = b64(crypto.getRandomValues(new Uint8Array(32)));
	const challenged = b64(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
	sessionStorage.setItem("flow", JSON.stringify({endpoint, redirect, verifier, token: server.token_endpoint, revoke: server.revocation_endpoint, client: client.client_id}));
	return server.authorization_endpoint + "?" + new URLSearchParams({response_type: "code", client_id: client.client_id, redirect_uri: redirect,
		code_challenge: challenged, code_challenge_method: "S256", resource: document.resource, state: "s-1", prompt: "consent"});
}

async function finish() {
	const flow = JSON.parse(sessionStorage.getItem("flow")), answer = new URLSearchParams(location.search);
	const got = await fetch(flow.token, {method: "POST", headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: new URLSearchParams({
		grant_type: "authorization_code", code: answer.get("code"), client_id: flow.client, redirect_uri: flow.redirect, code_verifier: flow.verifier, resource: flow.endpoint})});
	const token = (await got.json()).access_token;
	const call = async (extra, message) => {
		const resp = await fetch(flow.endpoint, {method: "POST", headers: {"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": "application/json, text/event-stream", ...extra}, body: JSON.stringify(message)});
		return {status: resp.status, body: await resp.text(), challenge: resp.headers.get("WWW-Authenticate") ?? ""};
	};
	const meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientInfo": {name: "page", version: "1"}, "io.modelcontextprotocol/clientCapabilities": {}};
	const out = {state: answer.get("state"), iss: answer.get("iss")};
	out.initialize = await call({"MCP-Protocol-Version": "2025-11-25"}, {jsonrpc: "2.0", id: 1, method: "initialize", params: {protocolVersion: "2025-11-25", capabilities: {}, clientInfo: {name: "page", version: "1"}}});
	out.old = await call({"MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": "none"}, {jsonrpc: "2.0", id: 2, method: "tools/call", params: {name: "list_presets", arguments: {}}});
	out.new = await call({"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "list_presets"}, {jsonrpc: "2.0", id: 3, method: "tools/call", params: {_meta: meta, name: "list_presets", arguments: {}}});
	out.stream = await call({"MCP-Protocol-Version": "2025-11-25"}, {jsonrpc: "2.0", id: 4, method: "tools/call", params: {name: "list_presets", arguments: {}, _meta: {progressToken: 1}}});
	const revoked = await fetch(flow.revoke, {method: "POST", headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: new URLSearchParams({token, client_id: flow.client})});
	out.revoked = revoked.status;
	out.dead = await call({"MCP-Protocol-Version": "2025-11-25"}, {jsonrpc: "2.0", id: 5, method: "tools/list"});
	return out;
}

// What a hostile page gets of the person's own pages.
async function steal(address) {
	try {
		const resp = await fetch(address, {credentials: "include"});
		return "read " + resp.status + " " + (await resp.text()).slice(0, 200);
	} catch (e) { return "closed"; }
}
</script>`

type pageAnswer struct {
	Status    int    `json:"status"`
	Body      string `json:"body"`
	Challenge string `json:"challenge"`
}

type pageFlow struct {
	State, Iss                         string
	Initialize, Old, New, Stream, Dead pageAnswer
	Revoked                            int
}

// script runs a function of the page and decodes what it promises.
func script[T any](t *testing.T, ctx context.Context, call string) T {
	t.Helper()
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[string](call+".then(JSON.stringify)", chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", call, err)
	}
	var v T
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%s: %v: %s", call, err, raw)
	}
	return v
}

func browse(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatalf("browser: %v", err)
	}
}

// press presses a button, once the time has passed in which buttons of the
// consent page do not react yet.
func press(t *testing.T, ctx context.Context, button string) {
	t.Helper()
	browse(t, ctx, chromedp.Evaluate[chromedp.Void](`document.getAnimations().forEach(a => a.finish())`))
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(button))); err != nil {
		t.Fatalf("press %s: %v", button, err)
	}
}

// A client in a page does everything itself, in a real browser, from another
// origin: challenge, documents, registration, consent, token, calls of both
// protocol eras, a stream, revocation. And the same page gets nothing of what
// the person's session opens.
func TestBrowserClient(t *testing.T) {
	t.Parallel()
	ctx := webtest.StartChromium(t)
	srv := startServer(t)
	ada := setUp(t, srv)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, clientPage)
	}))
	t.Cleanup(page.Close)
	browse(t, ctx, chromedp.Navigate(page.URL), chromedp.WaitVisible(chromedp.CSS("main")))
	authorize := script[string](t, ctx, fmt.Sprintf("begin(%q)", srv.Issuer+"/api/mcp"))

	browse(t, ctx, chromedp.Navigate(authorize), chromedp.WaitVisible(chromedp.CSS("#email")),
		chromedp.SetValue(chromedp.CSS("#email"), ada.email), chromedp.SetValue(chromedp.CSS("#password"), ada.password))
	press(t, ctx, "form.fields button")
	browse(t, ctx, chromedp.WaitVisible(chromedp.CSS(`button[value="approve"]`)))
	browse(t, ctx, chromedp.Evaluate[chromedp.Void](`document.getAnimations().forEach(a => a.finish())`)) // the buttons react a moment later
	press(t, ctx, `button[value="approve"]`)
	if at, err := chromedp.Run(ctx, chromedp.Location()); err != nil || !strings.HasPrefix(at, page.URL+"/callback?code=") {
		t.Fatalf("after Approve the browser is at %s, %v", at, err)
	}
	checkPageFlow(t, srv, script[pageFlow](t, ctx, "finish()"))

	for _, origin := range []string{srv.Issuer, srv.pages()} {
		for _, path := range []string{"/", "/account", "/sign-in", "/oauth/authorize?" + strings.SplitN(authorize, "?", 2)[1]} {
			if got := script[string](t, ctx, fmt.Sprintf("steal(%q)", origin+path)); got != "closed" {
				t.Errorf("a page of another origin gets %s%s: %s", origin, path, got)
			}
		}
	}
}

func checkPageFlow(t *testing.T, srv *testServer, got pageFlow) {
	t.Helper()
	if got.State != "s-1" || got.Iss != srv.Issuer {
		t.Errorf("came back with state %q, iss %q", got.State, got.Iss)
	}
	if got.Initialize.Status != 200 || !strings.Contains(got.Initialize.Body, `"protocolVersion":"2025-11-25"`) {
		t.Errorf("initialize: %+v", got.Initialize)
	}
	for name, a := range map[string]pageAnswer{"2025-11-25": got.Old, "2026-07-28": got.New, "stream": got.Stream} {
		if a.Status != 200 || !strings.Contains(a.Body, "nodejs") {
			t.Errorf("list_presets, %s: %+v", name, a)
		}
	}
	if !strings.HasPrefix(got.Stream.Body, "event:") && !strings.HasPrefix(got.Stream.Body, "id:") && !strings.HasPrefix(got.Stream.Body, "data:") {
		t.Errorf("the stream is none: %s", got.Stream.Body)
	}
	if got.Revoked != 200 || got.Dead.Status != 401 || !strings.Contains(got.Dead.Challenge, "invalid_token") {
		t.Errorf("after revocation (%d): %+v", got.Revoked, got.Dead)
	}
}
