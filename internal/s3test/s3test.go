// Package s3test is a storage that speaks as much of S3 as backups need, for tests.
package s3test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
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
	status, code := judge(r, body)
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
		answer(w, s.list(r.URL.Query().Get("prefix"), r.URL.Query().Get("continuation-token")))
	case r.Method == http.MethodGet:
		_, _ = w.Write(content) // who asked may be gone
	case r.Method == http.MethodPut:
		s.objects[key] = body
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	}
}

func answer(w io.Writer, v any) { _ = xml.NewEncoder(w).Encode(v) } // who asked may be gone

// judge returns what is wrong with a request, as S3 says it.
func judge(r *http.Request, body []byte) (status int, code string) {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	sum := sha256.Sum256(body)
	said := r.Header.Get("Authorization")
	_, signed, _ := strings.Cut(said, "SignedHeaders=")
	signed, _, _ = strings.Cut(signed, ",")
	bucket, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case !strings.Contains(said, "Credential="+AccessKey+"/"):
		return http.StatusForbidden, "InvalidAccessKeyId"
	case err != nil || !slices.Contains(strings.Split(signed, ";"), "host") || said != authorization(r, strings.Split(signed, ";")):
		return http.StatusForbidden, "SignatureDoesNotMatch"
	case time.Since(at).Abs() > 15*time.Minute:
		return http.StatusForbidden, "RequestTimeTooSkewed"
	case r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]):
		return http.StatusBadRequest, "XAmzContentSHA256Mismatch"
	case bucket != Bucket:
		return http.StatusNotFound, "NoSuchBucket"
	}
	return 0, ""
}

// authorization is the header that a request should have, made of what came over the
// wire.
func authorization(r *http.Request, signed []string) string {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	parts := strings.Split(query, "&")
	slices.Sort(parts)
	text := r.Method + "\n" + path + "\n" + strings.Join(parts, "&") + "\n"
	for _, name := range signed {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		text += name + ":" + value + "\n"
	}
	text += "\n" + strings.Join(signed, ";") + "\n" + r.Header.Get("X-Amz-Content-Sha256")
	sum := sha256.Sum256([]byte(text))
	date := r.Header.Get("X-Amz-Date")
	scope := date[:8] + "/" + Region + "/s3/aws4_request"
	key := mac([]byte("AWS4"+SecretKey), date[:8])
	for _, part := range []string{Region, "s3", "aws4_request", "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex.EncodeToString(sum[:])} {
		key = mac(key, part)
	}
	return "AWS4-HMAC-SHA256 Credential=" + AccessKey + "/" + scope + ",SignedHeaders=" + strings.Join(signed, ";") + ",Signature=" + hex.EncodeToString(key)
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	_, _ = m.Write([]byte(text)) // never fails
	return m.Sum(nil)
}

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
