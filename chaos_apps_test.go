package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"podgate/internal/webtest"
)

// chaosCode is an authorization code that was given out.
type chaosCode struct {
	form  url.Values
	tries int // that were sent
	given int // answers with tokens
}

// chaosTokens are the newest of a connection that were acknowledged.
type chaosTokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// chaosApp is an assistant that registered itself, with its connection.
type chaosApp struct {
	client, name string
	chaosTokens             // of the connection; empty: there is none
	unsure       bool       // the end of the connection was asked for, without an answer
	code         *chaosCode // that the connection came from, or is to come from
	pending      bool       // the code waits
	before       *chaosApp  // the connection that the pending code takes the place of
	pods         []float64  // what max_pods may be: one of these, 0 for none
}

// chaosApps is a person who connects assistants, limits them and ends them, and
// these assistants.
type chaosApps struct {
	chaosActor
	live     []*chaosApp
	ended    []*chaosApp // the last of them
	named    int         // apps so far
	consents int
}

// keptEnded is how many ended connections are tried again. Refused requests are
// limited in all.
const keptEnded = 60

func newChaosApps(a chaosActor) *chaosApps { return &chaosApps{chaosActor: a} }

func (a *chaosApps) step() {
	if len(a.live) < 4 {
		a.register()
		return
	}
	i := a.rng.IntN(len(a.live))
	app := a.live[i]
	switch dice := a.rng.IntN(10); {
	case app.Access == "" || dice == 0:
		a.connect(app)
		a.redeem(app)
	case dice == 1:
		a.redeemTwice(i)
	case dice == 2:
		a.revoke(i)
	case dice == 3:
		a.limit(app)
	case dice < 8:
		a.renew(app)
	default:
		a.use(app)
	}
}

// register makes an app that nobody let in yet.
func (a *chaosApps) register() {
	a.named++
	name := fmt.Sprintf("%s app %d", a.email, a.named)
	body := fmt.Sprintf(`{"client_name":%q,"redirect_uris":[%q],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none"}`, name, callback)
	status, answer, err := a.send(http.MethodPost, "/register", http.Header{"Content-Type": {"application/json"}, "X-Forwarded-For": {a.address()}}, body)
	if err == nil && status == http.StatusTooManyRequests {
		return // there are so many in all
	}
	a.answered(status, answer, err)
	var client struct {
		ID string `json:"client_id"`
	}
	if err := json.Unmarshal(answer, &client); err != nil || status != http.StatusCreated {
		a.Errorf("register: %d %s", status, answer)
	}
	a.live = append(a.live, &chaosApp{client: client.ID, name: name})
}

// connect is the person's part: from the app's request to the code.
func (a *chaosApps) connect(app *chaosApp) {
	if a.consents++; a.consents%20 == 0 {
		a.person = a.browse(a.person) // a session may ask only so often
	}
	verifier := fmt.Sprintf("%043d", a.rng.Uint64())
	challenge := sha256.Sum256([]byte(verifier))
	page := a.Open(a.srv.Issuer + "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {app.client}, "redirect_uri": {callback}, "state": {"s"}, "resource": {a.srv.Issuer + "/api/mcp"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"}, "scope": {"pods:read pods:write pods:exec"},
	}.Encode())
	if page.HasButton("Sign in") {
		page = a.signIn(page)
	}
	end := page.Press("Approve", webtest.Fields{"max_pods": {""}})
	if end.Location == nil || end.Location.Query().Get("code") == "" {
		panic(cutOff{fmt.Errorf("the browser stays at %q: %s", end.Title(), end.Text())})
	}
	if app.Access != "" {
		app.before = &chaosApp{client: app.client, name: app.name, chaosTokens: app.chaosTokens, code: app.code}
	}
	app.code = &chaosCode{form: url.Values{
		"grant_type": {"authorization_code"}, "client_id": {app.client}, "redirect_uri": {callback}, "code": {end.Location.Query().Get("code")}, "code_verifier": {verifier},
	}}
	app.pending = true
}

// redeem exchanges the pending code, which nobody has done if nothing was cut
// off. The connection that it takes the place of is then over.
func (a *chaosApps) redeem(app *chaosApp) {
	unknown := app.code.tries > 0
	app.code.tries++
	status, answer := a.post("/api/oauth/token", app.code.form)
	switch {
	case status == http.StatusOK:
		a.gave(app, answer)
	case !unknown:
		a.Errorf("a code that nobody used is refused: %d %s", status, answer)
	default:
		app.chaosTokens = chaosTokens{} // lost with the answer, and ended by this second use
	}
	app.pending, app.unsure, app.pods = false, false, []float64{0}
	if app.before != nil {
		a.over(app.before)
		app.before = nil
	}
}

// gave notes that a code was exchanged for tokens.
func (a *chaosApps) gave(app *chaosApp, answer []byte) {
	if app.code.given++; app.code.given > 1 {
		a.Error("a code was exchanged twice")
	}
	app.chaosTokens = a.tokens(answer)
}

func (a *chaosApps) tokens(answer []byte) (t chaosTokens) {
	if err := json.Unmarshal(answer, &t); err != nil || t.Access == "" || t.Refresh == "" {
		a.Errorf("tokens: %v: %s", err, answer)
	}
	return t
}

// redeemTwice sends one code from two sides at once: one of them gets tokens,
// and the other's use ends them.
func (a *chaosApps) redeemTwice(i int) {
	app := a.live[i]
	a.connect(app)
	type result struct {
		status int
		answer []byte
		err    error
	}
	headers := []http.Header{a.formHeader(), a.formHeader()} // chance is for one goroutine alone
	results := make([]result, 2)
	app.code.tries += 2
	var both sync.WaitGroup
	for n := range results {
		both.Go(func() {
			r := &results[n]
			r.status, r.answer, r.err = a.send(http.MethodPost, "/api/oauth/token", headers[n], app.code.form.Encode())
		})
	}
	both.Wait()
	for _, r := range results {
		if r.err == nil && r.status == http.StatusOK {
			a.gave(app, r.answer)
		}
	}
	for _, r := range results {
		a.answered(r.status, r.answer, r.err)
	}
	if app.code.given != 1 {
		a.Errorf("a code that was sent twice at once gave tokens %d times: %s and %s", app.code.given, results[0].answer, results[1].answer)
	}
	app.pending = false
	if app.before != nil {
		a.over(app.before)
	}
	a.end(i)
	a.dead(app)
}

// renew exchanges the newest refresh token. Without an answer it stays the
// newest that is known, and brings the same again.
func (a *chaosApps) renew(app *chaosApp) {
	status, answer := a.post("/api/oauth/token", a.refreshForm(app))
	if status != http.StatusOK {
		a.Errorf("%s: the newest refresh token is refused: %d %s", app.name, status, answer)
		return
	}
	app.chaosTokens = a.tokens(answer)
}

func (a *chaosApps) refreshForm(app *chaosApp) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {app.client}, "refresh_token": {app.Refresh}}
}

// use calls with the newest access token, which also shows the limits.
func (a *chaosApps) use(app *chaosApp) {
	status, answer := a.tool(app.Access, "list_pods", args{})
	if status != http.StatusOK || answer.Result.IsError {
		a.Errorf("%s: the newest access token: %d %v", app.name, status, answer)
		return
	}
	limits, _ := answer.Result.StructuredContent["limits"].(map[string]any) // absent: there are none
	most, _ := limits["max_pods"].(float64)
	if !slices.Contains(app.pods, most) {
		a.Errorf("%s: at most %v pods, want one of %v", app.name, most, app.pods)
	}
	app.pods = []float64{most}
}

// limit lets the person bound the number of pods.
func (a *chaosApps) limit(app *chaosApp) {
	most := a.rng.IntN(100) + 1
	app.pods = append(app.pods, float64(most))
	page := a.connections().Follow("Change limits of "+a.label(app)).Press("Save", webtest.Fields{"max_pods": {fmt.Sprint(most)}})
	if !strings.Contains(page.Text(), "The limits are changed.") {
		a.Errorf("limits: %d %s", page.Status, page.Text())
	}
	app.pods = []float64{float64(most)}
}

func (a *chaosApps) connections() *webtest.Page {
	page := a.Open(a.srv.Issuer + "/connections")
	if page.HasButton("Sign in") {
		page = a.signIn(page)
	}
	return page
}

func (a *chaosApps) label(app *chaosApp) string {
	name, _, _ := strings.Cut(a.email, "@")
	return fmt.Sprintf("“%s” at 127.0.0.1, team %ss", app.name, name)
}

// revoke ends a connection: the app does it, or the person.
func (a *chaosApps) revoke(i int) {
	app := a.live[i]
	app.unsure = true
	if a.rng.IntN(2) == 0 {
		status, answer := a.post("/api/oauth/revoke", url.Values{"client_id": {app.client}, "token": {app.Refresh}})
		if status != http.StatusOK {
			a.Errorf("revoke: %d %s", status, answer)
		}
	} else if page := a.connections().Follow("Revoke "+a.label(app)).Press("Revoke", nil); page.Status != http.StatusOK {
		a.Errorf("revoke: %d %s", page.Status, page.Text())
	}
	a.end(i)
	a.dead(app)
}

// end takes a live app out: its connection is over for good.
func (a *chaosApps) end(i int) {
	a.over(a.live[i])
	a.live = slices.Delete(a.live, i, i+1)
}

func (a *chaosApps) over(app *chaosApp) {
	a.ended = append(a.ended, app)
	a.ended = a.ended[max(0, len(a.ended)-keptEnded):]
}

// dead tries all that an ended connection had.
func (a *chaosApps) dead(app *chaosApp) {
	if status, answer := a.tool(app.Access, "list_pods", args{}); status != http.StatusUnauthorized {
		a.Errorf("%s: an access token works after its end: %d %v", app.name, status, answer)
	}
	if status, answer := a.post("/api/oauth/token", a.refreshForm(app)); status != http.StatusBadRequest {
		a.Errorf("%s: a refresh token works after its end: %d %s", app.name, status, answer)
	}
	if status, answer := a.post("/api/oauth/token", app.code.form); status != http.StatusBadRequest {
		a.Errorf("%s: a code works again: %d %s", app.name, status, answer)
	}
}

func (a *chaosApps) verify() {
	for i := len(a.live) - 1; i >= 0; i-- {
		a.verifyLive(i)
	}
	for _, app := range some(a.rng, a.ended, 5) {
		a.dead(app)
	}
}

// verifyLive settles what was cut off, and then wants of the connection all that
// was acknowledged.
func (a *chaosApps) verifyLive(i int) {
	app := a.live[i]
	if app.pending && app.code.given > 0 {
		app.pending = false // one of two got tokens, and what the other did was cut off
		if app.before != nil {
			a.over(app.before)
		}
		if status, answer := a.post("/api/oauth/token", app.code.form); status != http.StatusBadRequest {
			a.Errorf("a code works again: %d %s", status, answer)
		}
		a.end(i)
		a.dead(app)
		return
	}
	if app.pending {
		a.redeem(app)
	}
	if app.Access == "" {
		return
	}
	if app.unsure && a.gone(app) {
		a.end(i)
		return
	}
	a.use(app)
	a.renewTwice(app)
}

// gone reports whether a connection, whose end got no answer, ended. It is whole
// or gone.
func (a *chaosApps) gone(app *chaosApp) bool {
	if status, _ := a.tool(app.Access, "list_pods", args{}); status == http.StatusOK {
		app.unsure = false
		return false
	}
	a.dead(app)
	return true
}

// renewTwice exchanges the newest refresh token two times, which gives the same
// tokens both times.
func (a *chaosApps) renewTwice(app *chaosApp) {
	was := *app
	a.renew(app)
	first := app.chaosTokens
	app.chaosTokens = was.chaosTokens
	a.renew(app)
	if app.chaosTokens != first {
		a.Errorf("%s: one refresh token gave two successors", app.name)
	}
	a.use(app)
}

// finish tries everything that ended once more, and ends the rest by a refresh
// token that was replaced twice.
func (a *chaosApps) finish() {
	for _, app := range a.ended {
		a.dead(app)
	}
	for _, app := range a.live {
		if app.Access == "" {
			continue
		}
		old := *app
		a.renew(app)
		a.renew(app)
		if status, answer := a.post("/api/oauth/token", a.refreshForm(&old)); status != http.StatusBadRequest {
			a.Errorf("%s: a refresh token works again: %d %s", app.name, status, answer)
		}
		a.dead(app)
	}
}
