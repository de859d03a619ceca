package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"podgate/internal/webtest"
)

// chaosActor is a person with a browser, and with programs.
type chaosActor struct {
	*chaos
	*person
	rng      *rand.Rand
	programs *http.Client
}

func newChaosActor(c *chaos, p *person, rng *rand.Rand) chaosActor {
	a := chaosActor{chaos: c, rng: rng, programs: &http.Client{Transport: webtest.Transport(), Timeout: time.Minute}}
	c.Cleanup(a.programs.CloseIdleConnections)
	a.person = a.browse(p)
	return a
}

// browse gives a person a new browser, which ends no more than a step.
func (a *chaosActor) browse(p *person) *person {
	fresh := &person{Browser: webtest.New(chaosTB{a.chaos}), email: p.email, password: p.password}
	fresh.Stop = func(u *url.URL) bool { return strings.HasPrefix(u.String(), callback) }
	fresh.Header = http.Header{"X-Forwarded-For": {a.address()}}
	return fresh
}

// address is one of very many, so that no rate limit stands in the way.
func (a *chaosActor) address() string {
	return fmt.Sprintf("10.%d.%d.%d", a.rng.IntN(256), a.rng.IntN(256), a.rng.IntN(256))
}

// send sends what a program sends. Its errors are those of the network.
func (a *chaosActor) send(method, path string, header http.Header, body string) (int, []byte, error) {
	req, err := http.NewRequest(method, a.srv.Issuer+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = header
	resp, err := a.programs.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// post sends a form, and is cut off where there is no answer.
func (a *chaosActor) post(path string, form url.Values) (int, []byte) {
	return a.answered(a.send(http.MethodPost, path, a.formHeader(), form.Encode()))
}

func (a *chaosActor) formHeader() http.Header {
	return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Forwarded-For": {a.address()}}
}

func (a *chaosActor) answered(status int, answer []byte, err error) (int, []byte) {
	if err != nil {
		panic(cutOff{err})
	}
	if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests {
		a.Errorf("%d %s", status, answer)
	}
	return status, answer
}

// toolAnswer is what a tool says.
type toolAnswer struct {
	Result struct {
		IsError           bool
		Content           []struct{ Text string }
		StructuredContent map[string]any
	}
}

// tool calls a tool. Without 200 there is no answer.
func (a *chaosActor) tool(token, name string, with args) (int, toolAnswer) {
	raw, err := json.Marshal(with)
	if err != nil {
		a.Fatal(err)
	}
	status, body := a.answered(a.send(http.MethodPost, "/api/mcp", http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"},
		"Authorization": {"Bearer " + token}, "X-Forwarded-For": {a.address()},
	}, toolCall(name, string(raw))))
	var answer toolAnswer
	if status == http.StatusOK {
		if err := json.Unmarshal(body, &answer); err != nil {
			a.Errorf("%s: %v: %s", name, err, body)
		}
	}
	return status, answer
}

// some returns at most n of a list.
func some[T any](rng *rand.Rand, list []T, n int) []T {
	list = slices.Clone(list)
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(n, len(list))]
}

// chaosSessions signs in and out. A session that was acknowledged holds, and one
// of which the end was acknowledged never comes back.
type chaosSessions struct {
	chaosActor
	open  []*person
	ended [][]*http.Cookie
}

func (a *chaosSessions) step() {
	if len(a.open) < 3 {
		p := a.browse(a.person)
		if page := p.signIn(p.Open(a.srv.Issuer)); page.HasButton("Sign in") {
			a.Errorf("not signed in: %s", page.Text())
		}
		a.open = append(a.open, p)
		return
	}
	p := a.open[0]
	a.open = a.open[1:] // in doubt until the answer
	cookies := p.Cookies(a.srv.pages())
	p.Open(a.srv.Issuer).Press("Sign out", nil)
	a.ended = append(a.ended, cookies)
}

func (a *chaosSessions) verify() {
	for _, p := range a.open {
		if page := p.Open(a.srv.Issuer); page.HasButton("Sign in") {
			a.Errorf("an acknowledged session is lost: %s", page.Text())
		}
	}
	for _, cookies := range some(a.rng, a.ended, 5) {
		a.dead(cookies)
	}
}

func (a *chaosSessions) finish() {
	for _, cookies := range a.ended {
		a.dead(cookies)
	}
}

// dead looks at the account page with the cookies of a session that has ended.
func (a *chaosSessions) dead(cookies []*http.Cookie) {
	req, err := http.NewRequest(http.MethodGet, a.srv.pages()+"/account", nil)
	if err != nil {
		a.Fatal(err)
	}
	for _, c := range cookies {
		req.AddCookie(c)
	}
	resp, err := a.programs.Transport.RoundTrip(req)
	if err != nil {
		panic(cutOff{err})
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther && resp.StatusCode != http.StatusFound {
		a.Errorf("a session works after its acknowledged end: %d", resp.StatusCode)
	}
}
