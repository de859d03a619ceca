// Package s3test is a storage that speaks as much of S3 as backups need, for tests.
package s3test

import (
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What every Server has.
const (
	Bucket    = "vault"
	Region    = "eu-central-1"
	AccessKey = "AKID"
	SecretKey = "a secret"
)

// Server has one bucket in memory. It takes nothing that is not signed as it came.
type Server struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string][]byte
	refuse  func(*http.Request) (int, string)
	cuts    int
	ahead   time.Duration
}

// New starts a server, which ends with the test.
func New(t testing.TB) *Server {
	s := &Server{objects: map[string][]byte{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// Refuse has the server ask f about each request from now on: a status that is not 0 is
// the answer, with the code beside it.
func (s *Server) Refuse(f func(*http.Request) (status int, code string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// Cut has the next n answers that hold an object or a list break off in the middle.
func (s *Server) Cut(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts = n
}

// Ahead sets the server's clock ahead of the machine's, or back.
func (s *Server) Ahead(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead = by
}

func (s *Server) now() time.Time { return time.Now().Add(s.ahead) }

// Lose takes an object away, as somebody else might.
func (s *Server) Lose(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
}

// Names lists the objects.
func (s *Server) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// Held is Names for who is asked by Refuse.
func (s *Server) Held() []string { return slices.Sorted(maps.Keys(s.objects)) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // who asked is gone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	status, code := s.judge(r, body)
	if status == 0 && s.refuse != nil {
		status, code = s.refuse(r)
	}
	key := strings.TrimPrefix(r.URL.Path, "/"+Bucket+"/")
	content, there := s.objects[key]
	if status == 0 && r.Method == http.MethodGet && key != "" && !there {
		status, code = http.StatusNotFound, "NoSuchKey"
	}
	switch {
	case status != 0:
		w.WriteHeader(status)
		answer(w, struct {
			XMLName       xml.Name `xml:"Error"`
			Code, Message string
		}{Code: code, Message: "no"})
	case r.Method == http.MethodGet && key == "":
		var list strings.Builder
		answer(&list, s.list(r.URL.Query().Get("prefix"), r.URL.Query().Get("continuation-token")))
		s.send(w, []byte(list.String()))
	case r.Method == http.MethodGet:
		s.send(w, content)
	case r.Method == http.MethodPut:
		s.objects[key] = body
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	}
}

// send answers with all of it, unless it is to break off.
func (s *Server) send(w http.ResponseWriter, all []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(all)))
	if s.cuts > 0 {
		s.cuts--
		_, _ = w.Write(all[:len(all)/2])          // who asked may be gone
		_ = http.NewResponseController(w).Flush() // and hears of it only so
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(all) // as above
}

func answer(w io.Writer, v any) { _ = xml.NewEncoder(w).Encode(v) } // who asked may be gone

type object struct {
	Key  string
	Size int
}

type page struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []object
}

// list gives a few names a page.
func (s *Server) list(prefix, after string) page {
	var p page
	last, _ := url.QueryUnescape(after) // a token of ours
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(name, prefix) || name <= last {
			continue
		}
		if len(p.Contents) == 3 {
			p.IsTruncated, p.NextContinuationToken = true, url.QueryEscape(p.Contents[2].Key)
			break
		}
		p.Contents = append(p.Contents, object{name, len(s.objects[name])})
	}
	return p
}
