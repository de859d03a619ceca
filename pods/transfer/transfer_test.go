package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"

	"podgate/internal/authz"
	"podgate/internal/web"
	"podgate/pods"
	"podgate/pods/podstest"
	"podgate/store"
	"podgate/store/storetest"
)

// bench is the routes over the fake runtime, with a connection of ann's and a pod
// called shop.
type bench struct {
	*pods.Service
	t     *testing.T
	db    *store.DB
	url   string
	log   *logBuffer
	world storetest.World
	grant store.Grant
	actor authz.Actor // of the connection

	mu   sync.Mutex
	late time.Duration
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, db: storetest.New(t), log: &logBuffer{}}
	b.world = storetest.Populate(t, b.db, "ann", time.Now())
	var token store.Credential
	b.grant, token = b.world.Connect(t, b.db, authz.Scopes()...)
	access, err := b.db.Access(token, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.actor = authz.Connection(access)
	b.Service = podstest.ServiceOver(t, b.db, podstest.NewFake(t), func(c *pods.Config) { c.Now = b.now })
	b.create("shop")
	log := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	stack := &web.Stack{Log: log, Now: time.Now}
	router := httprouter.New()
	for _, r := range Routes(b.Service) {
		router.Handler(r.Method, r.Path, stack.Handle(r.Handler, r.Errors))
	}
	srv := httptest.NewServer(router)
	t.Cleanup(srv.Close)
	b.url = srv.URL
	return b
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.late)
}

func (b *bench) later(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.late += d
}

func (b *bench) create(name string) {
	b.t.Helper()
	if _, err := b.Create(b.t.Context(), b.actor, pods.CreateRequest{Name: name, Preset: "static"}, nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) upload(path string) (url string) {
	b.t.Helper()
	l, err := b.CreateUpload(b.t.Context(), b.actor, "shop", pods.UploadRequest{Path: path})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.url + web.UploadPath + l.Secret
}

func (b *bench) download(path string) (url string) {
	b.t.Helper()
	l, err := b.CreateDownload(b.t.Context(), b.actor, "shop", path)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.url + web.DownloadPath + l.Secret
}

func (b *bench) content(path string) string {
	b.t.Helper()
	part, err := b.ReadFile(b.t.Context(), b.actor, "shop", path, 0, 0)
	if err != nil {
		return err.Error()
	}
	return string(part.Content)
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (b *bench) do(method, url string, body io.Reader, header ...string) answer {
	b.t.Helper()
	a, err := b.try(method, url, body, header...)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func (b *bench) try(method, url string, body io.Reader, header ...string) (answer, error) {
	r, err := http.NewRequestWithContext(b.t.Context(), method, url, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	res, err := transport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(raw)}, err
}

// until waits until something has come to a link, and returns how much.
func (b *bench) until(url string) (offset int) {
	b.t.Helper()
	for offset == 0 && b.t.Context().Err() == nil {
		_, _ = fmt.Sscan(b.do("HEAD", url, nil).header.Get("Upload-Offset"), &offset)
		time.Sleep(2 * time.Millisecond)
	}
	return offset
}

// wants reports an answer that is none of a status with a code.
func (a answer) wants(t *testing.T, what string, status int, code string) {
	t.Helper()
	var e struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal([]byte(a.body), &e)
	if a.status != status || e.Error != code {
		t.Errorf("%s: %d %s, want %d %s", what, a.status, a.body, status, code)
	}
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A file goes in whole, or in parts as curl -C sends them, once, and no secret is
// in the log.
func TestUpload(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	url := b.upload("whole")
	if got := b.do("PUT", url, strings.NewReader("hello")); got.status != http.StatusCreated || got.body != `{"done":true,"path":"whole","offset":5}`+"\n" || b.content("whole") != "hello" {
		t.Errorf("%+v, %q", got, b.content("whole"))
	}
	b.do("PUT", url, strings.NewReader("again")).wants(t, "a replay", http.StatusGone, "used")
	parts := b.upload("parts")
	if got := b.do("HEAD", parts, nil); got.status != http.StatusOK || got.header.Get("Upload-Offset") != "0" {
		t.Errorf("%+v", got)
	}
	if got := b.do("PUT", parts, strings.NewReader("0123"), "Content-Range", "bytes 0-3/10"); got.status != http.StatusAccepted || got.header.Get("Upload-Offset") != "4" {
		t.Errorf("%+v", got)
	}
	b.do("PUT", parts, strings.NewReader("6789"), "Content-Range", "bytes 6-9/10").wants(t, "a gap", http.StatusRequestedRangeNotSatisfiable, "wrong_offset")
	if got := b.do("HEAD", parts, nil); got.header.Get("Upload-Offset") != "4" {
		t.Errorf("%+v", got)
	}
	if got := b.do("PUT", parts, strings.NewReader("456789"), "Content-Range", "bytes 4-9/10"); got.status != http.StatusCreated || b.content("parts") != "0123456789" {
		t.Errorf("%+v %q", got, b.content("parts"))
	}
	chunked := b.upload("chunked")
	if got := b.do("PUT", chunked, struct{ io.Reader }{strings.NewReader("untold")}); got.status != http.StatusCreated || b.content("chunked") != "untold" {
		t.Errorf("%+v", got)
	}
	other := b.upload("x")
	for _, header := range [][2]string{{"Content-Range", "bytes 0-3/2"}, {"Content-Range", "bytes 0-9/10"}, {"Content-Range", "bytes */10"}, {"Content-Range", "bytes -1-2/4"}} {
		b.do("PUT", other, strings.NewReader("0123"), header[0], header[1]).wants(t, header[1], http.StatusBadRequest, "invalid_range")
	}
	b.do("PUT", other, strings.NewReader("0123"), "Content-Encoding", "gzip").wants(t, "encoded", http.StatusUnsupportedMediaType, "unsupported_encoding")
	b.do("PUT", b.url+web.UploadPath+"guess", strings.NewReader("x")).wants(t, "a guess", http.StatusNotFound, "not_found")
	b.do("PUT", b.url+web.DownloadPath+other[strings.LastIndex(other, "/")+1:], strings.NewReader("x"))
	b.do("GET", b.url+web.DownloadPath+other[strings.LastIndex(other, "/")+1:], nil).wants(t, "the other way", http.StatusNotFound, "not_found")
	b.later(pods.LinkLife + time.Second)
	b.do("PUT", other, strings.NewReader("x")).wants(t, "too late", http.StatusNotFound, "not_found")
	for _, url := range []string{url, parts, other} {
		if secret := url[strings.LastIndex(url, "/")+1:]; len(secret) < 43 || strings.Contains(b.log.String(), secret) {
			t.Errorf("the secret %q is short, or in the log", secret)
		}
	}
	if !strings.Contains(b.log.String(), "path=/api/uploads/…") {
		t.Errorf("the log has no such requests: %s", b.log.String())
	}
}

// What came before a line broke stays, and only the rest is sent again.
func TestUploadBreaksOff(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	url := b.upload("big")
	content := bytes.Repeat([]byte("0123456789"), 200_000)
	body, rest := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), "PUT", url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = int64(len(content))
	ended := make(chan error, 1)
	go func() {
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err == nil {
			err = errors.Join(fmt.Errorf("status %d", res.StatusCode), res.Body.Close())
		}
		ended <- err
	}()
	if _, err := rest.Write(content[:1_000_000]); err != nil {
		t.Fatal(err)
	}
	b.until(url)
	b.do("PUT", url, strings.NewReader("two at once")).wants(t, "a second one", http.StatusConflict, "busy")
	broke := errors.New("the line broke")
	_ = rest.CloseWithError(broke)
	if err := <-ended; !errors.Is(err, broke) {
		t.Error(err)
	}
	offset := b.until(url)
	if offset > 1_000_000 || b.content("big") == string(content) {
		t.Errorf("%d bytes came", offset)
	}
	var got answer
	for got.status == 0 || got.status == http.StatusConflict { // until the server has heard that the first one is gone
		got = b.do("PUT", url, bytes.NewReader(content[offset:]), "Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, len(content)-1, len(content)))
	}
	if got.status != http.StatusCreated {
		t.Errorf("%+v", got)
	}
	d := b.do("GET", b.download("big"), nil)
	if d.body != string(content) {
		t.Errorf("%d bytes, of %d", len(d.body), len(content))
	}
}

// A file that comes out is never shown, and comes once.
func TestDownload(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	page := "<script>alert(document.domain)</script>"
	if _, err := b.WriteFile(t.Context(), b.actor, "shop", "a \"b\"\n.html", []byte(page), 0); err != nil {
		t.Fatal(err)
	}
	url := b.download("a \"b\"\n.html")
	b.do("HEAD", url, nil).wants(t, "a look", http.StatusMethodNotAllowed, "")
	got := b.do("GET", url, nil)
	h := got.header
	if got.status != http.StatusOK || got.body != page || h.Get("Content-Type") != "application/octet-stream" || h.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") ||
		h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%d %v %q", got.status, h, got.body)
	}
	b.do("GET", url, nil).wants(t, "a replay", http.StatusGone, "used")
	url = b.download("a \"b\"\n.html")
	for _, bad := range []string{"bytes=0-3", "bytes=-3", "bytes=0-3,5-", "lines=1-", "bytes=99999-"} {
		if got := b.do("GET", url, nil, "Range", bad); got.status != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%s: %+v", bad, got)
		}
	}
	if got := b.do("GET", url, nil, "Range", "bytes=8-"); got.status != http.StatusPartialContent || got.body != page[8:] || got.header.Get("Content-Range") != fmt.Sprintf("bytes 8-%d/%d", len(page)-1, len(page)) {
		t.Errorf("%+v", got)
	}
	if got := b.do("GET", b.download("."), nil); got.status != http.StatusOK || !strings.HasPrefix(got.body, "\x1f\x8b") || !strings.Contains(got.header.Get("Content-Disposition"), ".tar.gz") {
		t.Errorf("%d %v", got.status, got.header)
	}
}

// Whoever takes the connection, a right, the membership or the pod away takes the
// links with it, also those that are being used.
func TestLinksEndWithTheirRights(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(b *bench) error{
		"the connection": func(b *bench) error { return b.db.RevokeGrant(b.grant.ID, b.world.User.ID) },
		"a scope": func(b *bench) error {
			_, err := b.db.LimitGrant(b.grant.ID, b.world.User.ID, []store.Scope{authz.ScopeExec}, store.Limits{}, time.Now())
			return err
		},
		"all but another prefix": func(b *bench) error {
			_, err := b.db.LimitGrant(b.grant.ID, b.world.User.ID, authz.Scopes(), store.Limits{Prefix: "web-"}, time.Now())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			running, waiting, out := b.upload("running"), b.upload("waiting"), b.download("index.html")
			body, rest := io.Pipe()
			ended := make(chan answer, 1)
			go func() {
				a, _ := b.try("PUT", running, body) // broken off, or refused
				_ = body.Close()
				ended <- a
			}()
			if _, err := rest.Write(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			b.until(running)
			if err := take(b); err != nil {
				t.Fatal(err)
			}
			// The server goes on to read until the client sends or leaves.
			_, _ = rest.Write(make([]byte, 1000))
			_ = rest.Close()
			if a := <-ended; a.status == http.StatusCreated {
				t.Errorf("the one that was running: %+v", a)
			}
			b.do("PUT", waiting, strings.NewReader("x")).wants(t, "the one that was waiting", http.StatusForbidden, "revoked")
			b.do("GET", out, nil).wants(t, "the way out", http.StatusForbidden, "revoked")
			person := authz.Person(b.world.User.ID, store.Membership{Team: b.world.Team, Role: store.RoleOwner})
			for _, path := range []string{"running", "waiting"} {
				if _, err := b.ReadFile(t.Context(), person, "shop", path, 0, 0); !errors.Is(err, pods.ErrNoFile) {
					t.Errorf("%s: %v", path, err)
				}
			}
		})
	}
}

// Another pod of the same name is not the one that a link was made for, and one
// that is stopped takes nothing.
func TestLinksAreForOnePod(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	url := b.upload("x")
	if _, err := b.Stop(t.Context(), b.actor, "shop", nil); err != nil {
		t.Fatal(err)
	}
	b.do("PUT", url, strings.NewReader("x")).wants(t, "a stopped pod", http.StatusConflict, "not_running")
	if err := b.Delete(t.Context(), b.actor, "shop", "shop"); err != nil {
		t.Fatal(err)
	}
	b.do("PUT", url, strings.NewReader("x")).wants(t, "no pod", http.StatusNotFound, "not_found")
	b.create("shop")
	b.do("PUT", url, strings.NewReader("x")).wants(t, "another pod", http.StatusNotFound, "not_found")
}

// A team has so many links, and others have theirs.
func TestLinksAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	n := 0
	for ; n < 1000; n++ {
		if _, err := b.CreateUpload(t.Context(), b.actor, "shop", pods.UploadRequest{Path: "x"}); err != nil {
			if !errors.Is(err, pods.ErrBusy) {
				t.Error(err)
			}
			break
		}
	}
	if n != 50 {
		t.Errorf("%d links", n)
	}
	other := storetest.Populate(t, b.db, "bob", time.Now())
	bob := authz.Person(other.User.ID, store.Membership{Team: other.Team, Role: store.RoleOwner})
	if _, err := b.Create(t.Context(), bob, pods.CreateRequest{Name: "bobs", Preset: "static"}, nil); err != nil {
		t.Fatal(err)
	}
	l, err := b.CreateUpload(t.Context(), bob, "bobs", pods.UploadRequest{Path: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.do("PUT", b.url+web.UploadPath+l.Secret, strings.NewReader("x")); got.status != http.StatusCreated {
		t.Errorf("%+v", got)
	}
	if _, _, err := b.UploadedFile(b.actor, "bobs", l.ID); !errors.Is(err, pods.ErrNotFound) {
		t.Errorf("another team's upload: %v", err)
	}
	if _, _, err := b.UploadedFile(b.actor, "shop", l.ID); !errors.Is(err, pods.ErrBadInput) {
		t.Errorf("another pod's upload: %v", err)
	}
	b.later(pods.LinkLife + time.Second)
	if _, err := b.CreateUpload(t.Context(), b.actor, "shop", pods.UploadRequest{Path: "x"}); err != nil {
		t.Errorf("when they are too old: %v", err)
	}
}

// What came of an upload that nobody finished goes when its link is too old.
func TestRestOfAnUploadGoes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.do("PUT", b.upload("x"), strings.NewReader("0123"), "Content-Range", "bytes 0-3/10")
	rests := func() (n int) {
		t.Helper()
		list, err := b.ListFiles(t.Context(), b.actor, "shop", pods.ListQuery{Path: "/home/pod"})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Entries {
			if strings.Contains(e.Name, "upload") || strings.HasPrefix(e.Name, ".podgate-deploy-") {
				n++
			}
		}
		return n
	}
	// And what came whole for a deploy that nobody asked for.
	l, err := b.CreateUpload(t.Context(), b.actor, "shop", pods.UploadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	b.do("PUT", b.url+web.UploadPath+l.Secret, strings.NewReader("0123"))
	if rests() != 2 {
		t.Errorf("%d rests", rests())
	}
	b.later(pods.LinkLife + time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.Run(ctx) }()
	for rests() > 0 && t.Context().Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-ended
}

func FuzzRanges(f *testing.F) {
	f.Add("bytes 0-3/10")
	f.Add("bytes=5-")
	f.Add("bytes 99999999999999999999-1/0")
	f.Fuzz(func(t *testing.T, s string) {
		if first, last, total, ok := contentRange(s); ok && (first < 0 || last < first || total <= last || s != fmt.Sprintf("bytes %d-%d/%d", first, last, total) && !strings.Contains(s, "0")) {
			t.Errorf("%q: %d %d %d", s, first, last, total)
		}
		if from, ok := rangeStart([]string{s}); ok && from < 0 {
			t.Errorf("%q: %d", s, from)
		}
	})
}
